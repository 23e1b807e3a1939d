"""Losses that keep a model from learning its rows by heart, each around the task's own.

Letters   M distributions, C classes
"""

from collections.abc import Callable
from typing import Any

import torch

from penjing.core.contracts import Batch, RowLoss, Task
from penjing.maths.losses import beside, divergence, from_uniform

Loss = Callable[[Any, Batch], RowLoss]
REPEATS = 2


def agreeing(task: Task, weight: float) -> Loss:
    """Loss of a batch that holds its rows twice: the task's own, plus `weight` times the symmetric divergence of the two answers.

    Dropout takes other things away from each; it costs a second pass.

    Source: Liang, Wu, Li et al. 2021, "R-Drop: regularized dropout for neural networks", section 2.2
    """

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        hard = task.loss(outputs, batch)
        logits, owners = task.logits(outputs, batch)
        first, second = logits.chunk(2)
        apart = (divergence(first, second) + divergence(second, first)) / 2
        half = len(hard.total) // 2
        once = beside(apart, owners[: len(apart)], RowLoss(hard.total[:half], hard.count[:half]), 2 * weight)
        return RowLoss(torch.cat([once.total, hard.total[half:]]), hard.count)

    return loss


def smoothing(task: Task, inner: Loss, share: float, repeats: int) -> Loss:
    """Loss in which a share of each target is spread evenly over all answers, the right one among them.

    inner     the loss without it
    repeats   how many times a batch holds its rows

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna 2016, "Rethinking the Inception architecture", section 7
    """

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        hard = inner(outputs, batch)
        logits, owners = task.logits(outputs, batch)
        copies = torch.arange(repeats).repeat_interleave(len(owners) // repeats).to(owners.device)
        return beside(from_uniform(logits), owners + copies * (owners.max() + 1), RowLoss((1 - share) * hard.total, hard.count), share)

    return loss
