"""Remove the channels of a convolutional network whose batch norms scale them least, or the least weighted units of a recurrent one.

Liu et al. 2017, "Learning efficient convolutional networks through network slimming", section 3; without their sparsity term, and with
the same share in every group, because recovery by distillation follows and narrow layers stay narrow for the kernels.

Letters   G channels of a group
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy, ChannelGroup
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller
from penjing.methods.prune._units import taken

RECOVERS, LOOKS = True, False


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[float, "share of the channels that stays in every group", Between(0.01, 1)] = 0.5


def fits(anatomy: Anatomy) -> bool:
    """Groups of channels that the family names."""
    return bool(anatomy.channels)


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with fewer channels."""
    weights = Remaining(shown.weights)
    changes = {entry: list(model.config.to_dict()[entry]) for entry in {group.setting[0] for group in anatomy.channels}}
    for group in anatomy.channels:
        entry, index = group.setting
        total = changes[entry][index]
        kept = _kept(shown.weights, group, total, settings.keep_share)
        for name, dimension in group.tensors:
            weights.change(name, partial(taken, dimension, total, kept, group.repeat.get(name, 1)))
        changes[entry][index] = len(kept)
    before = {entry: sum(model.config.to_dict()[entry]) for entry in changes}
    return Smaller(changes, weights, {"channels": changes}, share=sum(map(sum, changes.values())) / sum(before.values()))


def _kept(weights: Mapping[str, torch.Tensor], group: ChannelGroup, total: int, share: float) -> torch.Tensor:
    """Sorted numbers of the channels that stay: those with the largest summed scale."""
    scales = (weight.abs().reshape(-1, total, weight[0].numel()).sum((0, 2)) for weight in map(weights.__getitem__, group.scores))
    score = torch.stack(list(scales)).sum(0)
    return score.topk(max(1, round(total * share))).indices.sort().values.cpu()
