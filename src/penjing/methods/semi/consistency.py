"""What the model is sure of in a slightly changed row, it shall say of the strongly changed one too, while it learns.

Sohn, Berthelot, Li et al. 2020, "FixMatch: simplifying semi-supervised learning with consistency and confidence", sections 2.1 and 2.2.
Here labelled rows and others come in one order, so a batch holds them in about the proportion of all, at most 7 of the others for one as
there; and labelled rows are learnt from in both views.

Letters   B rows of a batch, C labels
"""

from collections.abc import Callable
from typing import Any

import numpy
import torch

from penjing.core.contracts import Batch, RowLoss
from penjing.core.examples import Examples
from penjing.maths.losses import cross_entropy
from penjing.methods.semi import Functions, Trained, sure

COMPARES_VIEWS = True
STRENGTHS = (0.25, 1.0)  # weak and strong, as shares of the strength that the user chose
MOST_FOR_ONE = 7  # rows without labels for each labelled one, section 2.4; where they are more, labelled rows come several times


def apply(functions: Functions, labelled: Examples, unlabelled: Examples, confidence: float) -> tuple[Trained, int]:
    """One training, whose epochs hold all rows."""
    times = max(1, round(len(unlabelled) / (MOST_FOR_ONE * len(labelled))))
    known = labelled.take(numpy.tile(numpy.arange(len(labelled)), times))
    rows = functions.join(known, unlabelled)
    trained = functions.train(rows, consistent(functions, len(known), len(rows), confidence), STRENGTHS)
    return trained, len(sure(functions.answer(trained, unlabelled), confidence))


def consistent(functions: Functions, num_known: int, num_rows: int, confidence: float) -> Callable[[Any, Batch], RowLoss]:
    """Loss of batches that hold their rows twice, weak views first: on average the mean over labelled rows and that over the others, added.

    num_known    rows of lower number are labelled
    num_rows     of both sorts together
    """

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        half = len(batch.rows) // 2
        known = batch.rows[:half] < num_known
        weak, strong = functions.logits(outputs, batch)[0].chunk(2)
        chances, labels = weak.detach().float().softmax(-1).max(-1)  # (B,)
        kept = cross_entropy(strong, labels).total * (chances >= confidence)
        taught = functions.loss(outputs, batch).total.view(2, half).mean(0)
        shares = torch.where(known, num_known / num_rows, 1 - num_known / num_rows)
        return RowLoss(torch.where(known, taught, kept) / shares, torch.ones_like(labels))

    return loss
