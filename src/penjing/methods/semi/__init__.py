"""What rows without labels teach, where each row's answer is one label; one file a method. A method has

COMPARES_VIEWS                                                          whether it needs augmentations, and goes with no other loss
apply(functions, labelled, unlabelled, confidence) -> (Trained, int)    the model, and of how many rows without labels it has been sure

`confidence` is the least score that counts as sure.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from penjing.core.contracts import Batch, Prediction, RowLoss
from penjing.core.examples import Examples

Loss = Callable[[Any, Batch], RowLoss]
Trained = Any
"""A model that has been trained; what it is only the caller knows."""


class Functions(NamedTuple):
    """What a method may ask for.

    train     (rows, loss=None, strengths=(1.0,)) -> Trained: a model that began where all begin, trained by this loss or the usual one;
              a batch holds its rows once for each of `strengths`, augmented by that share of the strength the user chose
    answer    (Trained, rows) -> its answers, each with a score
    join      (labelled, unlabelled, labels=None) -> both sets of rows, these after those; any label where `labels` is None
    loss      (outputs, batch) -> RowLoss of true labels
    logits    (outputs, batch) -> (B, C), (B,)
    """

    train: Callable[..., Trained]
    answer: Callable[[Trained, Examples], list[Prediction]]
    join: Callable[..., Examples]
    loss: Loss
    logits: Callable[[Any, Batch], Any]


def sure(answers: Sequence[Prediction], confidence: float) -> list[int]:
    """Which answers are given with at least this score."""
    return [i for i, answer in enumerate(answers) if answer.score is not None and answer.score >= confidence]
