"""One file a task, named by the field's own name; each ends with `TASK`, its Task class.

What several tasks have in common stands here.
"""

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from penjing.core.contracts import Batch, Example, Prediction, RowLoss, Task
from penjing.maths.losses import cross_entropy


class OneLabel(Task):
    """One label for each row, told from logits (B, C): of a text, an image, a sound. What is left to say is how a row is encoded.

    Letters   B rows, C labels
    """

    primary, version = "accuracy", 1

    def loss(self, outputs: Any, batch: Batch) -> RowLoss:
        return cross_entropy(outputs.logits, batch.targets["label"])

    def logits(self, outputs: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return outputs.logits, batch.rows

    def decode(self, outputs: Any, batch: Batch, processor: Any) -> list[Prediction]:
        best = outputs.logits.float().softmax(-1).max(-1)
        return [Prediction(self.labels[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist())]

    def score(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> dict[str, float]:
        number = {label: i for i, label in enumerate(self.labels)}
        said = numpy.array([number[p.value] for p in predictions])
        true = numpy.array([number[e["label"]] for e in examples])
        hits, answered, there = (numpy.bincount(x, minlength=len(number)) for x in (true[said == true], said, true))
        f1 = 2 * hits / numpy.maximum(answered + there, 1)  # by hand: a bootstrap calls this 1,000 times, scikit-learn takes 20 s for that
        return {"accuracy": float(hits.sum() / len(true)), "macro_f1": float(f1[answered + there > 0].mean())}

    def per_row(self, predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[float]:
        return [float(p.value == e["label"]) for p, e in zip(predictions, examples)]

    def target(self, outputs: Any, batch: Batch, part: int | None = None) -> torch.Tensor:
        return outputs.logits.max(-1).values  # (B,) the logit of the predicted label

    def numbered(self, example: Example) -> dict[str, int]:
        """The label as the loss wants it; nothing where the row has none, when serving."""
        return {"label": self.labels.index(example["label"])} if "label" in example else {}
