"""Narrow the whole residual stream: the same channels go from embeddings, norms, blocks and head.

Xia et al. 2024, "Sheared LLaMA", section 2.1 (one mask over the hidden width of the whole model; there it is learnt); Muralidharan et al.
2024, "Compact language models via pruning and knowledge distillation" (Minitron), section 2.2 (importance, there of what the norms give).
Where a config says the width of all heads as that of the model, as many heads go, each attention's least important, so that a head stays
whole. Positions that are no weights but follow from the width are sines; there the channels that stay are spread as the frequencies are.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller
from penjing.methods.prune._units import ROUND_TO, Importance, Place, best, cut, entries, importance, magnitude, nearest

RECOVERS = LOOKS = True


@dataclass(frozen=True)
class Options:
    """How much stays, and what."""

    keep_share: Annotated[float, "share of the hidden width that stays, rounded to what the config can say", Between(0.01, 1)] = 0.5
    importance: Annotated[
        Importance, "what says how much a channel matters: how the loss changes without it, its weights, or what the blocks give"
    ] = "activations"


def fits(anatomy: Anatomy) -> bool:
    """A hidden width, and every place where it is counted."""
    return bool(anatomy.hidden.sets)


def size(config: Any, anatomy: Anatomy, wanted: float) -> int:
    """How wide the model can be, nearest to what is wanted."""
    step, width = ROUND_TO if anatomy.hidden.free else _head_size(anatomy), anatomy.hidden.total
    numbers = [number for number in range(step, width, step) if number not in anatomy.hidden.fixed.values()]  # equals are built otherwise
    return nearest(config, [*numbers, width], wanted, lambda count: _entries(anatomy, count))


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with a narrower residual stream, and where that is as wide as the heads with fewer of them."""
    channels, weights = anatomy.hidden, Remaining(shown.weights)
    count = size(model.config, anatomy, channels.total * settings.keep_share)
    groups = () if channels.free else (anatomy.heads,)
    heard = [Place(path, heads.total) for heads in groups for path, _ in heads.sets]
    if settings.importance == "magnitude":
        *of_heads, of_channels = [score for units in (*groups, channels) for score in magnitude(shown.weights, units)]
    else:
        heard += [Place(path, channels.total, gives=True) for path in anatomy.blocks]
        found = importance(model, settings.importance, heard, shown)
        of_heads, of_channels = found[: -len(anatomy.blocks)], torch.stack(found[-len(anatomy.blocks) :]).sum(0)
    sines = {name for _, tensors in channels.sets for name, _ in tensors} & {*(model._keys_to_ignore_on_save or ())}
    kept, lost = _spread(of_channels, count) if sines else best([of_channels], count)
    cut(weights, channels, kept)
    facts = {"hidden_width": f"{count} of {channels.total}", "importance_lost_share": lost}
    for heads in groups:
        left = count // _head_size(anatomy)
        cut(weights, heads, best(of_heads, left)[0])
        facts["heads"] = f"{left} of {heads.total}"
    return Smaller(_entries(anatomy, count), weights, facts, share=count / channels.total)


def _entries(anatomy: Anatomy, count: int) -> dict[str, Any]:
    """What the config says of so many channels, and of the heads that are as wide in all."""
    heads = {} if anatomy.hidden.free else {**anatomy.heads.settings}
    return {**entries(anatomy.hidden, count), **{name: each * count // _head_size(anatomy) for name, each in heads.items()}}


def _head_size(anatomy: Anatomy) -> int:
    """How many channels go with a head, or with the heads that share keys and values."""
    return anatomy.hidden.total // anatomy.heads.total


def _spread(scores: Tensor, count: int) -> tuple[list[Tensor], float]:
    """As `best`, one of each of `count` equal stretches: the sine of a narrower model at a place is that of the wider at the same share."""
    stretch = torch.arange(len(scores)) * count // len(scores)
    kept = torch.stack([scores.where(stretch == number, -1).argmax() for number in range(count)])
    return [kept], round(1 - (scores[kept].sum() / scores.sum().clamp(min=1e-30)).item(), 4)
