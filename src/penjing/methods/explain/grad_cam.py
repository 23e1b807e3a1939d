"""Grad-CAM: where the last maps of a network are high that the answer rises with; for convolutions and for patches of a transformer.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization", section 3. captum has it for
maps alone, where both agree.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from penjing.methods.explain import Asked

NEEDS, COMPLETE = "maps", False


@dataclass(frozen=True)
class Options:
    """Nothing is open."""


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores, none below 0: maps that speak against the answer are left out."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        kept.append(output)

    with asked.maps.register_forward_hook(keep):  # type: ignore[union-attr]
        answer = asked.answer(asked.free())
    maps, (slopes,) = kept[0], torch.autograd.grad(answer.sum(), kept[0])
    if maps.ndim == 4:  # (1, C, h, w)
        small = (maps * slopes.mean((2, 3), keepdim=True)).sum(1, keepdim=True)
    else:  # (1, T, D), of which the patches are the last
        each = (maps * slopes.mean(1, keepdim=True)).sum(-1)
        side = int(each.shape[1] ** 0.5)
        small = each[:, -side * side :].view(1, 1, side, side)
    height, width = asked.seen.shape[-2:]
    whole = nn.functional.interpolate(small.detach().relu(), (height, width), mode="bilinear")
    shape = [1] * (asked.seen.ndim - 2)
    return asked.by_unit(whole.view(*shape, height, width).expand_as(asked.seen)) / asked.by_unit(torch.ones_like(asked.seen))
