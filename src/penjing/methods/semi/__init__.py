"""What rows without labels teach, where each row's answer is one label; one file a method.

A method is a module with `apply` and `COMPARES_VIEWS`, as `Method` says.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

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


class Method(Protocol):
    """What a module of this folder is."""

    COMPARES_VIEWS: bool
    """Whether it needs augmentations, and a loss of its own that goes with no other."""

    def apply(self, functions: Functions, labelled: Examples, unlabelled: Examples, confidence: float) -> tuple[Trained, int]:
        """The model, and of how many rows without labels it has been sure; `confidence` is the least score that counts as sure."""
        ...


def sure(answers: Sequence[Prediction], confidence: float) -> list[int]:
    """Which answers are given with at least this score."""
    return [i for i, answer in enumerate(answers) if answer.score is not None and answer.score >= confidence]
