"""Attention weights: how much the place where the answer is read looks at each input position, in one layer, by one head or all.

Vaswani et al. 2017, "Attention is all you need", figures 3 to 5; as the model computes them. Like rollout they say where a model looks and
not what for (Jain, Wallace 2019, "Attention is not explanation").
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from penjing.core.errors import OptionError
from penjing.core.options import Between
from penjing.methods.explain import Asked

NEEDS, COMPLETE = "attention", False


@dataclass(frozen=True)
class Options:
    """Which layer and which head."""

    layer: Annotated[int, "number of the layer, from 0; -1 the last, -2 the one before it", Between(-1000, 1000)] = -1
    head: Annotated[int | None, "number of the head, from 0; where not given the mean of all", Between(0, 1000)] = None


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores.

    Raises OptionError for a layer or a head that the model does not have.
    """
    weights, units = asked.attention()  # type: ignore[misc]
    layers, heads = weights.shape[:2]
    if not -layers <= settings.layer < layers:
        raise OptionError(f"--layer cannot be {settings.layer}", wanted=f"{-layers} to {layers - 1}", fix="choose a layer that is there")
    if settings.head is not None and settings.head >= heads:
        raise OptionError(f"--head cannot be {settings.head}", wanted=f"0 to {heads - 1}", fix="choose a head that is there")
    chosen = weights[settings.layer] if settings.head is None else weights[settings.layer, settings.head : settings.head + 1]
    return asked.looked_at(chosen.double().mean(0), units)
