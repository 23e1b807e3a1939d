"""The student matches the teacher's softened probabilities, and the true labels a little.

Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network", section 2.

Letters   M distributions of a batch, B its rows, C classes
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from penjing.core.contracts import Batch, RowLoss
from penjing.core.options import Between
from penjing.maths.losses import beside, kl
from penjing.methods.distill import Functions

REMEMBERED_CLASSES = 4096  # the teacher's answers are kept between epochs where they are no wider than this


@dataclass(frozen=True)
class Options:
    """Of the softened cross-entropy."""

    temperature: Annotated[float, "softens both distributions", Between(0.1, 100)] = 2.0
    soft_share: Annotated[float, "weight of the teacher's answers, the rest is the true labels'", Between(0, 1)] = 0.9


def apply(teacher: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs against the teacher's on the same inputs.

    The teacher is asked once for each row: its answers do not change, so later epochs take them from memory.
    """
    remembered: dict[int, torch.Tensor] = {}

    def taught(batch: Batch) -> torch.Tensor:
        rows = batch.rows.tolist()
        if all(row in remembered for row in rows):
            return torch.stack([remembered[row] for row in rows])
        with torch.inference_mode():
            found, owners = functions.logits(teacher.eval()(**batch.inputs), batch)
        if owners.tolist() == rows and len({*rows}) == len(rows) and found.shape[-1] <= REMEMBERED_CLASSES:
            remembered.update(zip(rows, found.float().clone()))
        return found.clone()

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        hard = functions.loss(outputs, batch)
        student, owners = functions.logits(outputs, batch)
        apart = kl(student, taught(batch), settings.temperature)  # (M,)
        return beside(apart, owners, RowLoss((1 - settings.soft_share) * hard.total, hard.count), settings.soft_share)

    return loss
