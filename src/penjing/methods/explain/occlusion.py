"""Occlusion: how much the answer loses where one unit says nothing and all others stay. It needs no gradients.

Zeiler, Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2; Li, Monroe, Jurafsky 2016 for words. It is
captum's feature ablation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.methods.explain import Asked

NEEDS, COMPLETE = "answers", False
AT_ONCE = 16  # inputs


@dataclass(frozen=True)
class Options:
    """Nothing is open."""


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    from captum.attr import FeatureAblation

    def answer(there: Tensor) -> Tensor:
        return asked.answer(asked.partly(there.bool()))

    whole = torch.ones(1, asked.num_units)
    with torch.no_grad():
        return FeatureAblation(answer).attribute(whole, perturbations_per_eval=AT_ONCE)[0].double()
