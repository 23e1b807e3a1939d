"""Gradient times input: the slope of the answer at the input, times how far it is from an input that says nothing. One pass, and rough.

Shrikumar et al. 2016, "Not just a black box"; as captum computes it, from an input that says nothing rather than from zero.
"""

from dataclasses import dataclass

from torch import Tensor

from penjing.methods.explain import Asked

NEEDS, COMPLETE = "gradients", False


@dataclass(frozen=True)
class Options:
    """Nothing is open."""


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    from captum.attr import Saliency

    slope = Saliency(asked.answer).attribute(asked.free(), abs=False)
    return asked.by_unit(slope * (asked.seen - asked.nothing))
