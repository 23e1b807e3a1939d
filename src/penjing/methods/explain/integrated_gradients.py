"""Integrated gradients: the slope of the answer at every step of the way from an input that says nothing to this one, times the way.

Sundararajan, Taly, Yan 2017, "Axiomatic attribution for deep networks"; as captum computes it.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from threadpoolctl import threadpool_limits
from torch import Tensor

from penjing.core.options import Between
from penjing.methods.explain import Asked

NEEDS, COMPLETE = "gradients", True
AT_ONCE = 16  # inputs
FEWEST, MOST = 16, 1024  # steps that are tried
CLOSE = 0.005  # share of all scores by which they may miss the change


@dataclass(frozen=True)
class Options:
    """How finely the way is cut."""

    steps: Annotated[
        int | Literal["auto"],
        f"points of the way at which the slope is taken; auto: four times as many, from {FEWEST} to {MOST}, until the scores add up",
        Between(2, 10_000),
    ] = "auto"


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    from captum.attr import IntegratedGradients

    method, steps = IntegratedGradients(asked.answer), FEWEST if settings.steps == "auto" else int(settings.steps)
    while True:
        with threadpool_limits(1, "blas"):  # where the steps lie is a matter of milliseconds, and of seconds where threads of others wait
            found, missed = method.attribute(
                asked.free(), asked.nothing, n_steps=steps, internal_batch_size=AT_ONCE, return_convergence_delta=True
            )
        scores = asked.by_unit(found)
        if settings.steps != "auto" or steps >= MOST or abs(float(missed)) <= CLOSE * float(scores.abs().sum()):
            return scores
        steps *= 4
