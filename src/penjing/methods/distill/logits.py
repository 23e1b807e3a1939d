"""The student matches the teacher's softened probabilities, and the true labels a little.

Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network", section 2. Where the answers are numbers there is nothing
to soften: the student matches them by squared error (Ba, Caruana 2014, "Do deep nets really need to be deep?", section 2).

Letters   M distributions of a batch, those of a row together, C classes
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from penjing.core.contracts import Batch, RowLoss
from penjing.methods.distill import Functions
from penjing.methods.distill._soft import Soft, softened

REMEMBERED = 4096  # numbers; the teacher's answers are kept between epochs where those to a row are no more than this


Options = Soft


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Soft) -> Callable[[Any, Batch], RowLoss]:
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
        num_classes = functions.logits(outputs, batch)[0].shape[-1]
        return softened(functions, settings, outputs, batch, taught(batch, num_classes))

    return loss
