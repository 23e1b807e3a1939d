"""The student matches the teacher's softened probabilities, and the true labels a little.

Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network", section 2. Where the answers are numbers there is nothing
to soften: the student matches them by squared error (Ba, Caruana 2014, "Do deep nets really need to be deep?", section 2).

Letters   M distributions of a batch, those of a row together, C classes
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import nn

from penjing.core.contracts import Batch, RowLoss
from penjing.core.options import Between
from penjing.maths.losses import beside, divergence
from penjing.methods.distill import Functions

REMEMBERED = 4096  # numbers; the teacher's answers are kept between epochs where those to a row are no more than this


@dataclass(frozen=True)
class Options:
    """Of the softened cross-entropy."""

    temperature: Annotated[float, "softens both distributions", Between(0.1, 100)] = 2.0
    soft_share: Annotated[float, "weight of the teacher's answers, the rest is the true labels'", Between(0, 1)] = 0.9


def apply(teacher: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs against the teacher's on the same inputs.

    The teacher is asked once for each row: its answers do not change, so later epochs take them from memory, unless they depend on the
    batch: on its other rows, or on how long it is where places in a text are the classes.
    """
    remembered: dict[int, torch.Tensor] = {}

    def taught(batch: Batch, num_classes: int) -> torch.Tensor:
        rows = batch.rows.tolist()
        if all(row in remembered and remembered[row].shape[-1] == num_classes for row in rows):
            return torch.cat([remembered[row] for row in rows])
        with torch.inference_mode():
            found, owners = functions.logits(teacher.eval()(**batch.inputs), batch)
        order, each = owners.unique_consecutive(return_counts=True)
        few = int(each.max()) * found.shape[-1] <= REMEMBERED
        if few and not functions.interact and order.tolist() == rows and len({*rows}) == len(rows):
            remembered.update(zip(rows, found.float().clone().split(each.tolist())))
        return found.clone()

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        hard = functions.loss(outputs, batch)
        student, owners = functions.logits(outputs, batch)
        apart = divergence(student, taught(batch, student.shape[-1]), settings.temperature)  # (M,)
        return beside(apart, owners, RowLoss((1 - settings.soft_share) * hard.total, hard.count), settings.soft_share)

    return loss
