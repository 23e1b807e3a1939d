"""Attention rollout: how much of each input position reaches the place where the answer is read, if attention were all that mixes.

Abnar, Zuidema 2020, "Quantifying attention flow in transformers", section 3: half of each layer is its attention, half what passes it by.
It says where a model looks and not what for: no score is below 0, and all answers have the same.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from penjing.methods.explain import Asked

NEEDS, COMPLETE = "attention", False


@dataclass(frozen=True)
class Options:
    """Nothing is open."""


def apply(asked: Asked, settings: Options) -> Tensor:
    """(U,) scores."""
    weights, units = asked.attention()  # type: ignore[misc]
    flow = torch.eye(weights.shape[-1], dtype=torch.float64)
    for layer in weights.double().mean(1):  # (T, T) of all heads
        mixed = layer / 2 + torch.eye(len(layer), dtype=torch.float64) / 2
        flow = mixed / mixed.sum(-1, keepdim=True) @ flow
    return asked.looked_at(flow, units)
