"""Narrow the feed-forward part of every block to its most important neurons.

Importance is first-order Taylor: how much the loss would change if the neuron were silent, |activation x gradient| summed over tokens.
Molchanov et al. 2017, "Pruning convolutional neural networks for resource efficient inference", section 2.2.

Letters   F neurons of a feed-forward layer
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy, Batch, RowLoss
from penjing.core.options import Between
from penjing.methods.prune import Shown, Smaller

ROUND_TO = 8  # neurons; matrix kernels work in multiples of it

RECOVERS = True


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[float, "share of the feed-forward neurons that stays", Between(0.01, 1)] = 0.5


def fits(anatomy: Anatomy) -> bool:
    """Feed-forward layers, and a config that says how wide they are."""
    return bool(anatomy.feed_forward and anatomy.width)


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with the same number of neurons in every block, each block its own most important ones."""
    narrow = [name for _, name in anatomy.feed_forward]
    width = model.get_parameter(f"{narrow[0]}.weight").shape[1]
    keep = min(width, max(ROUND_TO, round(width * settings.keep_share / ROUND_TO) * ROUND_TO))
    scores = importance(model, narrow, shown.batches, shown.loss)
    weights = dict(model.state_dict())
    lost = []
    for widen, name in anatomy.feed_forward:
        kept = scores[name].topk(keep).indices.sort().values
        lost.append(1 - (scores[name][kept].sum() / scores[name].sum().clamp(min=1e-30)).item())
        for wide in widen:
            for part in ("weight", "bias"):
                if f"{wide}.{part}" in weights:
                    weights[f"{wide}.{part}"] = weights[f"{wide}.{part}"][kept]
        weights[f"{name}.weight"] = weights[f"{name}.weight"][:, kept]
    facts = {"width": f"{keep} of {width}", "importance_lost_share": round(sum(lost) / len(lost), 4)}
    return Smaller(dict.fromkeys(anatomy.width, keep), weights, facts)


def importance(
    model: nn.Module, narrow: list[str], batches: Iterable[Batch], loss: Callable[[Any, Batch], RowLoss]
) -> dict[str, torch.Tensor]:
    """(F,) for each layer named in `narrow`, whose inputs are the neurons."""
    scores = {name: torch.zeros(model.get_parameter(f"{name}.weight").shape[1]) for name in narrow}

    def listen(name: str) -> Callable[[nn.Module, Any], None]:
        def hook(_: nn.Module, inputs: Any) -> None:
            activation = inputs[0]

            def note(gradient: torch.Tensor) -> None:
                scores[name] += (activation * gradient).detach().flatten(0, -2).sum(0).abs().cpu()

            activation.register_hook(note)

        return hook

    hooks = [model.get_submodule(name).register_forward_pre_hook(listen(name)) for name in narrow]
    try:
        for batch in batches:
            loss(model(**batch.inputs), batch).mean().backward()
    finally:
        for hook in hooks:
            hook.remove()
        model.zero_grad()
    return scores
