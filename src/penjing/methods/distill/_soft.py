"""The softened answers of a teacher, which every method of distillation learns from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from penjing.core.contracts import Batch, RowLoss
from penjing.core.options import Between
from penjing.maths.losses import beside, divergence
from penjing.methods.distill import Functions

REMEMBERED = 4096  # numbers; the teacher's answers are kept between epochs where those to a row are no more than this


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


def answering(functions: Functions) -> Callable[[Batch, int], Tensor]:
    """(batch, number of classes) -> the teacher's distributions (M, C).

    It is asked once for each row: its answers do not change, so later epochs take them from memory, unless the row does, or they depend on
    the batch: on its other rows, or on how long it is where places in a text are the classes.
    """
    remembered: dict[int, Tensor] = {}

    def answers(batch: Batch, num_classes: int) -> Tensor:
        rows = batch.rows.tolist()
        if not batch.fresh and all(row in remembered and remembered[row].shape[-1] == num_classes for row in rows):
            return torch.cat([remembered[row] for row in rows])
        found, owners = functions.logits(functions.ask(batch.inputs), batch)
        order, each = owners.unique_consecutive(return_counts=True)
        few = int(each.max()) * found.shape[-1] <= REMEMBERED
        if few and not (batch.fresh or functions.interact) and order.tolist() == rows and len({*rows}) == len(rows):
            remembered.update(zip(rows, found.float().clone().split(each.tolist())))
        return found.clone()

    return answers
