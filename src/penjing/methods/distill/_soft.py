"""The softened answers of a teacher, which every method of distillation learns from."""

from dataclasses import dataclass
from typing import Annotated, Any

from torch import Tensor

from penjing.core.contracts import Batch, RowLoss
from penjing.core.options import Between
from penjing.maths.losses import beside, divergence
from penjing.methods.distill import Functions


@dataclass(frozen=True)
class Soft:
    """Of the softened cross-entropy."""

    temperature: Annotated[float, "softens both distributions", Between(0.1, 100)] = 2.0
    soft_share: Annotated[float, "weight of the teacher's answers, the rest is the true labels'", Between(0, 1)] = 0.9


def softened(functions: Functions, settings: Soft, outputs: Any, batch: Batch, taught: Tensor) -> RowLoss:
    """The loss of a student's outputs against the true labels and the teacher's distributions (M, C)."""
    hard = functions.loss(outputs, batch)
    student, owners = functions.logits(outputs, batch)
    apart = divergence(student, taught, settings.temperature)  # (M,)
    return beside(apart, owners, RowLoss((1 - settings.soft_share) * hard.total, hard.count), settings.soft_share)
