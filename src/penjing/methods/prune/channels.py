"""Remove the channels of a convolutional network whose batch norms scale them least.

Liu et al. 2017, "Learning efficient convolutional networks through network slimming", section 3; without their sparsity term, and with
the same share in every group, because recovery by distillation follows and narrow layers stay narrow for the kernels.

Letters   G channels of a group
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy, Batch, ChannelGroup, RowLoss
from penjing.core.options import Between
from penjing.methods.prune import Smaller


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[float, "share of the channels that stays in every group", Between(0.01, 1)] = 0.5


def fits(anatomy: Anatomy) -> bool:
    """Groups of channels that the family names."""
    return bool(anatomy.channels)


def apply(
    model: PreTrainedModel, anatomy: Anatomy, batches: Iterable[Batch], loss: Callable[[Any, Batch], RowLoss], settings: Options
) -> Smaller:
    """The model with fewer channels."""
    weights = dict(model.state_dict())
    changes = {entry: list(model.config.to_dict()[entry]) for entry in {group.setting[0] for group in anatomy.channels}}
    for group in anatomy.channels:
        kept = _kept(model.state_dict(), group, settings.keep_share)
        for name, dimension in group.tensors:
            times = group.repeat.get(name, 1)
            places = (kept[:, None] * times + torch.arange(times)).flatten()
            weights[name] = weights[name].index_select(dimension, places.to(weights[name].device))
        entry, index = group.setting
        changes[entry][index] = len(kept)
    return Smaller(changes, weights, {"channels": changes})


def _kept(weights: dict[str, torch.Tensor], group: ChannelGroup, share: float) -> torch.Tensor:
    """Sorted numbers of the channels that stay: those with the largest summed scale."""
    score = torch.stack([weights[name].abs().reshape(len(weights[name]), -1).sum(1) for name in group.scores]).sum(0)
    return score.topk(max(1, round(len(score) * share))).indices.sort().values.cpu()
