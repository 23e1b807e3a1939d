"""Rare labels that count as much as frequent ones: a weight for each training row around any loss.

King and Zeng 2001, "Logistic regression in rare events data", section 4.2, as scikit-learn's class_weight="balanced" has it: rows over
labels times the rows of the label. Where a row has several labels its weight is their mean, and labels are counted instead of rows.
"""

import collections
from collections.abc import Sequence

import torch

from penjing.core.contracts import Batch, Example, RowLoss, Task
from penjing.engine.train import Loss


def balanced(task: Task, rows: Sequence[Example]) -> torch.Tensor:
    """(rows,) fp32 weights, 1 on average over labels; a row without a label weighs 1."""
    named = [task.labels_of(row) for row in rows]
    counts = collections.Counter(label for labels in named for label in labels)
    each = {label: counts.total() / (len(counts) * count) for label, count in counts.items()}
    return torch.tensor([sum(each[label] for label in labels) / len(labels) if labels else 1.0 for labels in named])


def weighted(loss: Loss, weights: torch.Tensor) -> Loss:
    """The loss with each row's total and count times its weight, so that the mean over a batch stays a mean.

    weights   (rows,) by the number that `Batch.rows` names
    """

    def by_row(outputs: object, batch: Batch) -> RowLoss:
        plain = loss(outputs, batch)
        factor = weights[torch.unique_consecutive(batch.rows)].to(plain.total.device)
        return RowLoss(plain.total * factor, plain.count * factor)

    return by_row
