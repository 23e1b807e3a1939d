"""Shapley values by sampling: what a unit adds to the units before it, in the mean over random orders. It needs no gradients.

Castro, Gómez, Tejada 2009, "Polynomial calculation of the Shapley value based on sampling"; Lundberg, Lee 2017 for models. As captum
computes it.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from penjing.core.options import Between
from penjing.methods.explain import Asked

NEEDS, COMPLETE = "answers", True
AT_ONCE = 16  # inputs


@dataclass(frozen=True)
class Options:
    """How many orders."""

    samples: Annotated[int, "random orders of the units", Between(1, 100_000)] = 25


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    from captum.attr import ShapleyValueSampling

    def answer(there: Tensor) -> Tensor:
        return asked.answer(asked.partly(there.bool()))

    whole = torch.ones(1, asked.num_units)
    torch.manual_seed(0)  # the same question has the same answer
    with torch.no_grad():
        found = ShapleyValueSampling(answer).attribute(whole, n_samples=settings.samples, perturbations_per_eval=AT_ONCE)
    return found[0].double()
