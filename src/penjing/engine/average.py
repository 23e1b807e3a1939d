"""A moving average of the weights: where they swing around a good place, their mean lies closer to it than they do.

Running statistics of norms are averaged in the same way, since no batch has passed through the averaged weights; whole numbers
(how many batches a norm has seen) stay those of the model.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The mean of the weights after each step so far, in which each counts `decay` times as much as those one step later.

    Bias-corrected: the counts are divided by their sum, so that the weights of the start have no part in it. After n steps those of
    step k count decay^(n - k) (1 - decay) / (1 - decay^n).

    values    the mean, by the names of `sources`, the tensors that it follows and that are changed in place

    Source: Polyak, Juditsky 1992; the correction as in Kingma, Ba 2015, "Adam", section 3
    """

    def __init__(self, sources: Mapping[str, Tensor], decay: float):
        self._sources, self._decay, self.updates = sources, decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in sources.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after one more step."""
        self.updates += 1
        share = (1 - self._decay) / (1 - self._decay**self.updates)
        for name, value in self.values.items():
            value.lerp_(self._sources[name], share)

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on beside the weights."""
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        self.updates = saved["updates"]
        for name, value in self.values.items():
            value.copy_(saved["values"][name])


def moving(model: nn.Module, learning: Collection[str]) -> dict[str, Tensor]:
    """What an average follows: the parameters that learn, and statistics."""
    statistics = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
    return {**{name: p for name, p in model.named_parameters() if name in learning}, **statistics}


@contextmanager
def holding(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """`model` has these values in the place of its own while the body runs; nothing is copied."""
    places = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    own = {name: places[name].data for name in values}
    try:
        for name, value in values.items():
            places[name].data = value
        yield
    finally:
        for name, value in own.items():
            places[name].data = value


def untouched(module: nn.Module) -> AbstractContextManager[None]:
    """The buffers of `module`, where norms keep statistics, are copies while the body runs."""
    return holding(module, {name: buffer.clone() for name, buffer in module.named_buffers()})
