"""One file a task, named by the field's own name; each ends with `TASK`, its Task class.

What several tasks have in common stands here.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy
import torch

from penjing.core.contracts import Batch, Example, Prediction, RowLoss, Task
from penjing.tasks._heads import HEADS, Head

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class OneAnswer(Task):
    """One answer for each row, told from logits (B, C): of a text, an image, a sound. What is left to say is how a row is encoded.

    The answer is a label, several labels or a number, as the head says; `columns` of a task name the usual one.

    Letters   B rows, C outputs
    """

    primary, heads = "accuracy", tuple(HEADS)

    def __init__(self, labels: Sequence[str] = (), head: str | None = None):
        super().__init__(labels)
        self.head = HEADS[head or self.heads[0]](labels)
        self.problem_type, self.primary, self.errors = self.head.problem_type, self.head.primary, self.head.errors
        self.columns = {**self.columns, self.target_columns[0]: self.head.column}

    @property
    def decision(self) -> dict[str, float]:
        return self.head.decision

    def of(self, config: Mapping[str, Any]) -> "OneAnswer":
        return self._with(self.head.of(config))

    def ways(self) -> "list[OneAnswer]":
        return [self._with(head) for head in self.head.ways()]

    def _with(self, head: Head) -> "OneAnswer":
        other = copy.copy(self)
        other.head = head
        return other

    @property
    def outputs(self) -> list[str]:
        return self.head.outputs()

    @classmethod
    def guess_head(cls, label: type) -> str:
        return next(name for name, head in HEADS.items() if head.column is label)

    def loss(self, outputs: Any, batch: Batch) -> RowLoss:
        return self.head.loss(outputs.logits, batch.targets["label"])

    def logits(self, outputs: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.head.distributions(outputs.logits)
        return found, batch.rows.repeat_interleave(len(found) // len(batch.rows))

    def decode(self, outputs: Any, batch: Batch, processor: Any) -> list[Prediction]:
        return self.head.decode(outputs.logits)

    def scorer(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> Callable[[numpy.ndarray], dict[str, float]]:
        return self.head.scorer(*self._pairs(predictions, examples))

    def score(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, float]:
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def per_row(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[float] | None:
        return self.head.per_row(*self._pairs(predictions, examples))

    def confusion(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[list[int]] | None:
        return self.head.confusion(*self._pairs(predictions, examples))

    def labels_of(self, example: Example) -> list[str]:
        return self.head.labels_of(example["label"])

    def truth(self, example: Example) -> Any:
        return self.head.truth(example["label"])

    def off(self, prediction: Prediction, example: Example) -> float:
        return self.head.off(prediction.value, self.truth(example))

    def usual(self, examples: Sequence[Example]) -> Any:
        return self.head.usual([self.truth(example) for example in examples])

    def scale(self, examples: Sequence[Example]) -> tuple[float, float] | None:
        return self.head.scale(self.truth(example) for example in examples)

    def prior(self, examples: Sequence[Example]) -> list[float] | None:
        return self.head.prior(self.truth(example) for example in examples)

    def numbered(self, example: Example) -> dict[str, Any]:
        """The label as the loss wants it; nothing where the row has none, when serving."""
        return {"label": self.head.numbered(example["label"])} if "label" in example else {}

    def simplest(self, *steps: Any) -> "Pipeline":
        """Steps from examples to features and a classifier, as a baseline for this kind of answer."""
        from sklearn.pipeline import make_pipeline  # here and in the tasks where a baseline is made: 0.6 s

        return make_pipeline(*steps[:-1], self.head.learner(steps[-1]))

    def _pairs(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> tuple[list[Any], list[Any]]:
        return [p.value for p in predictions], [self.truth(example) for example in examples]
