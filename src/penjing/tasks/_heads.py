"""What the answer to a row may be where logits (B, C) tell it: one label, many labels, or a number.

A head knows the values of the target column and the logits, nothing of texts, images or sounds; `OneAnswer` puts the two together.

Letters   n rows, B rows of a batch, C outputs (labels; 1 for a number)
"""

import collections
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy
import torch
from torch import Tensor

from penjing.core.contracts import Prediction, RowLoss
from penjing.maths.losses import binary_cross_entropy, cross_entropy, squared_error

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

THRESHOLD = "threshold"
"""The entry of config.json that holds the chance above which one of many labels is answered."""
THRESHOLDS = sorted((round(0.05 * k, 2) for k in range(1, 20)), key=lambda chance: abs(chance - 0.5))
"""Those that are tried; of equally good ones the first is taken."""

Scorer = Callable[[numpy.ndarray], dict[str, float]]
"""Metrics of the rows whose indices (m,) it is given, each maybe several times."""


class Head(ABC):
    """One kind of answer. A `value` is what the target column holds; `said` and `true` are (n,) answers in the words of the data."""

    problem_type: ClassVar[str]
    """What config.json calls it."""
    column: ClassVar[type]
    """What the target column must hold, as `core.kinds` has it."""
    primary: ClassVar[str]
    errors: ClassVar[tuple[str, ...]] = ()

    def __init__(self, labels: Sequence[str]):
        self.labels, self._place = list(labels), {label: i for i, label in enumerate(labels)}

    @property
    def decision(self) -> dict[str, float]:
        """What config.json holds of how logits become answers."""
        return {}

    def of(self, config: Mapping[str, Any]) -> "Head":
        """This head with the decision of a config."""
        return self

    def ways(self) -> "Sequence[Head]":
        """This head with every decision worth a try."""
        return [self]

    def outputs(self) -> list[str]:
        """What the model's outputs are called."""
        return self.labels

    @abstractmethod
    def labels_of(self, value: Any) -> list[str]:
        """The labels that a value names."""

    def truth(self, value: Any) -> Any:
        """The value in the form that answers have."""
        return value

    @abstractmethod
    def numbered(self, value: Any) -> Any:
        """The value as the loss wants it: a number or a list of them."""

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> RowLoss:
        """Loss of each row against a batch of what `numbered` gives."""

    def distributions(self, logits: Tensor) -> Tensor:
        """(B * k, c) what distillation compares: k distributions a row, those of one row together; numbers where c is 1."""
        return logits

    @abstractmethod
    def decode(self, logits: Tensor) -> list[Prediction]:
        """The answer of each row."""

    @abstractmethod
    def scorer(self, said: Sequence[Any], true: Sequence[Any]) -> Scorer:
        """By hand and on arrays: a bootstrap calls it 1,000 times, and scikit-learn takes 20 s for that on 5,000 rows."""

    def per_row(self, said: Sequence[Any], true: Sequence[Any]) -> list[float] | None:
        """The primary metric of each row where it is a mean over rows."""
        return None

    def confusion(self, said: Sequence[Any], true: Sequence[Any]) -> list[list[int]] | None:
        """Counts (C, C), row the true label; None where a row has not just one."""
        return None

    def off(self, said: Any, true: Any) -> float:
        """How far an answer is from the truth."""
        return float(said != true)

    @abstractmethod
    def usual(self, true: Sequence[Any]) -> Any:
        """The answer that scores best where no row is looked at."""

    def scale(self, true: Iterable[Any]) -> tuple[float, float] | None:
        """Mean and standard deviation of numbers; None for labels."""
        return None

    def prior(self, true: Iterable[Any]) -> list[float] | None:
        """Logits for a fresh head to begin with; None for zeros, and then the truths are not looked at."""
        return None

    @abstractmethod
    def learner(self, classifier: "BaseEstimator") -> "BaseEstimator":
        """An estimator as simple as `classifier`, from features to `truth`."""


class OneLabel(Head):
    """Softmax over labels that exclude each other."""

    problem_type, column, primary = "single_label_classification", str, "accuracy"

    def labels_of(self, value):
        return [value]

    def numbered(self, value):
        return self._place[value]

    def loss(self, logits, targets):
        return cross_entropy(logits, targets)

    def decode(self, logits):
        best = logits.float().softmax(-1).max(-1)
        return [Prediction(self.labels[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist())]

    def scorer(self, said, true):
        answers, truths = (numpy.array([self._place[label] for label in labels], dtype=int) for labels in (said, true))

        def score(rows):
            answer, truth = answers[rows], truths[rows]
            counted = (numpy.bincount(x, minlength=len(self.labels)) for x in (truth[answer == truth], answer, truth))
            hits, answered, there = counted
            return {"accuracy": float(hits.sum() / len(rows)), "macro_f1": _macro_f1(hits, answered + there)}

        return score

    def per_row(self, said, true):
        return [float(answer == truth) for answer, truth in zip(said, true)]

    def confusion(self, said, true):
        from sklearn.metrics import confusion_matrix  # here and below, where one is needed: 0.6 s

        return confusion_matrix(true, said, labels=self.labels).tolist()

    def usual(self, true):
        return collections.Counter(true).most_common(1)[0][0]

    def learner(self, classifier):
        return classifier


class ManyLabels(Head):
    """A sigmoid for each label: any number of them may hold for a row, none too.

    A label is answered where its chance is above one threshold, which is that of the best micro F1 on tune rows: about half that F1 where
    chances are honest. On GoEmotions tf-idf with logistic regression has micro F1 0.46 and macro F1 0.32 at a half, 0.54 and 0.42 at 0.2
    (validation rows, 2026-11-22).

    Source: Lipton, Elkan, Naryanaswamy 2014, "Optimal thresholding of classifiers to maximize F1 measure".
    """

    problem_type, column, primary = "multi_label_classification", set, "micro_f1"

    def __init__(self, labels: Sequence[str], threshold: float = 0.5):
        super().__init__(labels)
        self.threshold = threshold

    @property
    def decision(self):
        return {THRESHOLD: self.threshold}

    def of(self, config):
        return ManyLabels(self.labels, config.get(THRESHOLD, 0.5))

    def ways(self):
        return [ManyLabels(self.labels, threshold) for threshold in THRESHOLDS]

    def labels_of(self, value):
        return value

    def truth(self, value):
        return [label for label in self.labels if label in value]

    def numbered(self, value):
        return [float(label in value) for label in self.labels]

    def loss(self, logits, targets):
        return binary_cross_entropy(logits, targets)

    def distributions(self, logits):
        """Each label is a distribution over no and yes."""
        return torch.stack([torch.zeros_like(logits), logits], -1).view(-1, 2)

    def decode(self, logits):
        chances = logits.float().sigmoid()
        yes = chances > self.threshold
        sure = torch.where(yes, chances, 1 - chances).prod(-1)  # of just this set, labels taken as independent
        return [Prediction([label for label, holds in zip(self.labels, row) if holds], p) for row, p in zip(yes.tolist(), sure.tolist())]

    def scorer(self, said, true):
        answers, truths = self._matrix(said), self._matrix(true)
        both, exact = answers * truths, (answers == truths).all(1)

        def score(rows):
            times = numpy.bincount(rows, minlength=len(exact))
            hits, named = times @ both, times @ answers + times @ truths
            micro, same = 2 * hits.sum() / max(named.sum(), 1), times @ exact / len(rows)
            return {"micro_f1": float(micro), "macro_f1": _macro_f1(hits, named), "subset_accuracy": float(same)}

        return score

    def usual(self, true):
        """The most frequent labels, as many as give the best F1 over all rows."""
        counts = self._matrix(true).sum(0)
        order = numpy.argsort(-counts, kind="stable")
        hits = numpy.cumsum(counts[order])
        f1 = 2 * hits / (len(true) * numpy.arange(1, len(order) + 1) + counts.sum())
        return self.truth([self.labels[i] for i in order[: f1.argmax() + 1]])

    def prior(self, true):
        """The log odds of each label's share, with half a row added to either side."""
        counts: collections.Counter[str] = collections.Counter()
        n = 0
        for labels in true:
            counts.update(labels)
            n += 1
        return [math.log((counts[label] + 0.5) / (n - counts[label] + 0.5)) for label in self.labels]

    def learner(self, classifier):
        from penjing.tasks._one_vs_rest import OneVsRest

        return OneVsRest(self.labels, classifier)

    def _matrix(self, values: Sequence[Any]) -> numpy.ndarray:
        """(n, C) of 0 and 1."""
        found = numpy.zeros((len(values), len(self.labels)))
        for row, labels in enumerate(values):
            found[row, [self._place[label] for label in labels]] = 1
        return found


class Number(Head):
    """The output is the number itself, in the unit of the data."""

    problem_type, column, primary, errors = "regression", float, "r2", ("mae",)

    def outputs(self):
        return ["number"]

    def labels_of(self, value):
        return []

    def truth(self, value):
        return float(value)

    def numbered(self, value):
        return float(value)

    def loss(self, logits, targets):
        return squared_error(logits[:, 0], targets)

    def decode(self, logits):
        return [Prediction(value) for value in logits[:, 0].float().tolist()]

    def scorer(self, said, true):
        answers, truths = numpy.array(said, dtype=float), numpy.array(true, dtype=float)

        def score(rows):
            answer, truth = answers[rows], truths[rows]
            missed, spread = ((answer - truth) ** 2).sum(), ((truth - truth.mean()) ** 2).sum()
            r2 = 1 - missed / spread if spread else float(missed == 0)  # as scikit-learn has it where all numbers are one
            return {"r2": float(r2), "spearman": _rank_correlation(answer, truth), "mae": float(numpy.abs(answer - truth).mean())}

        return score

    def off(self, said, true):
        return abs(said - true)

    def usual(self, true):
        return float(numpy.mean(true))

    def scale(self, true):
        numbers = numpy.fromiter(true, float)
        return float(numbers.mean()), float(numbers.std()) or 1.0

    def learner(self, classifier):
        from sklearn.linear_model import Ridge

        return Ridge()


HEADS: dict[str, type[Head]] = {"one-label": OneLabel, "many-labels": ManyLabels, "number": Number}


def _macro_f1(hits: numpy.ndarray, named: numpy.ndarray) -> float:
    """Mean F1 of the labels that occur; `named` (C,) counts truths and answers together."""
    return float((2 * hits / numpy.maximum(named, 1))[named > 0].mean()) if named.any() else 0.0


def _rank_correlation(a: numpy.ndarray, b: numpy.ndarray) -> float:
    """Spearman's; 0 where either has one value only."""
    if a.min() == a.max() or b.min() == b.max():
        return 0.0
    from scipy.stats import rankdata  # 0.3 s

    return float(numpy.corrcoef(rankdata(a), rankdata(b))[0, 1])
