"""A model that shall answer alike whatever dropout takes away: each batch holds its rows twice, and the two answers are pulled together.

Liang, Wu, Li et al. 2021, "R-Drop: regularized dropout for neural networks", section 2.2. It costs a second pass; it is a
regularizer, meant for models that learn few rows by heart.
"""

from collections.abc import Callable
from typing import Any

import torch

from penjing.core.contracts import Batch, RowLoss, Task
from penjing.maths.losses import beside, divergence

REPEATS = 2


def agreeing(task: Task, weight: float) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a batch that holds its rows twice: the task's own, plus `weight` times the symmetric divergence of the two answers."""

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        hard = task.loss(outputs, batch)
        logits, owners = task.logits(outputs, batch)
        first, second = logits.chunk(2)
        apart = (divergence(first, second) + divergence(second, first)) / 2
        half = len(hard.total) // 2
        once = beside(apart, owners[: len(apart)], RowLoss(hard.total[:half], hard.count[:half]), 2 * weight)
        return RowLoss(torch.cat([once.total, hard.total[half:]]), hard.count)

    return loss
