"""SmoothGrad: the mean of gradient times input over noisy copies of the input, which a slope that trembles does not survive.

Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3; as captum computes it.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from penjing.core.options import Between
from penjing.methods.explain import Asked

NEEDS, COMPLETE = "gradients", False
AT_ONCE = 16  # inputs


@dataclass(frozen=True)
class Options:
    """How noisy, how often."""

    samples: Annotated[int, "noisy copies", Between(2, 10_000)] = 32
    noise: Annotated[float, "standard deviation of the noise, as a share of the range of the input", Between(0, 1)] = 0.1


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    from captum.attr import NoiseTunnel, Saliency

    width = float(asked.seen.max() - asked.seen.min()) * settings.noise
    torch.manual_seed(0)  # the same question has the same answer
    slope = NoiseTunnel(Saliency(asked.answer)).attribute(
        asked.free(), nt_type="smoothgrad", nt_samples=settings.samples, nt_samples_batch_size=AT_ONCE, stdevs=width, abs=False
    )
    return asked.by_unit(slope * (asked.seen - asked.nothing))
