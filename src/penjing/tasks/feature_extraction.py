"""A vector for each text, near those of texts that mean the same: for search, for doubles, across languages.

Data     columns `sentence1`, `sentence2`: two texts of one meaning, a question and its answer, a sentence and its translation; `text` alone
         when it is asked
Metric   recall_at_1: of how many rows the first text finds its own partner among the second texts of all measured rows; recall_at_10; mrr,
         the mean of 1 / rank where that is 10 at most
Explain  cosine of the two texts, per token

A row learns to be nearer to its partner than to those of the other rows of its batch, either way, so a larger --batch-rows is a harder and
a better lesson. Rows of the same text are no lesson for each other.

Letters  N texts of a batch, B its rows, D numbers of a vector
Source   Henderson et al. 2017, "Efficient natural language response suggestion for smart reply", section 4.4; both ways as in Radford et
         al. 2021, "Learning transferable visual models from natural language supervision"
"""

from typing import NamedTuple

import numpy
import torch

from penjing.core.contracts import IMPOSSIBLE, Prediction, RowLoss, Task
from penjing.maths.losses import cross_entropy
from penjing.tasks._nearest import SHARPNESS, vectors
from penjing.tasks._pairs import SIDES, VECTORS, Pairs, both
from penjing.tasks._ranks import MOST, ranked

DIGITS = 6
_TOLD = 3  # numbers of a vector


class Placed(NamedTuple):
    """The two texts of a row and their vectors (2, D), before it is known which others there are."""

    texts: tuple[str, ...]
    vectors: torch.Tensor


class FeatureExtraction(Pairs):
    columns, target_columns = dict.fromkeys(SIDES, str), ()
    primary, interact, embeds = "recall_at_1", True, True
    stages = tuple(stage for stage in Task.stages if stage != "explain")  # of two texts sentence-similarity tells why they are alike
    answer = VECTORS + "print(vectors.tolist())"

    @classmethod
    def input_columns(cls):
        return {SIDES[0]: str}

    @classmethod
    def judged_by(cls):
        return SIDES

    def asked(self, example):
        return {SIDES[0]: example[SIDES[0]]}

    def logits(self, outputs, batch):
        first, second = both(outputs, batch)
        likeness = SHARPNESS * first @ second.T  # (B, B)
        texts = [[side.text for side in batch.origin[start::2]] for start in (0, 1)]
        same = torch.tensor([[any(side[i] == side[j] for side in texts) and i != j for j in range(len(first))] for i in range(len(first))])
        return likeness.masked_fill(same.to(likeness.device), IMPOSSIBLE), batch.rows[0::2]

    def loss(self, outputs, batch):
        likeness, _ = self.logits(outputs, batch)
        own = torch.arange(len(likeness), device=likeness.device)
        ahead, back = cross_entropy(likeness, own), cross_entropy(likeness.T, own)
        return RowLoss((ahead.total + back.total) / 2, ahead.count)

    def decode(self, outputs, batch, processor):
        found, answers = vectors(outputs, batch).detach().cpu(), list[Prediction]()
        starts = [i for i, side in enumerate(batch.origin) if side.first]
        for start, end in zip(starts, [*starts[1:], len(found)]):
            texts = tuple(side.text for side in batch.origin[start:end])
            alone = [round(number, DIGITS) for number in found[start].tolist()]
            answers.append(Prediction(Placed(texts, found[start:end]) if len(texts) == 2 else alone))
        return answers

    def together(self, predictions):
        """For each row the text that was found, of the second ones of all rows, and which place its own partner has."""
        if not predictions or not isinstance(predictions[0].value, Placed):
            return predictions
        first, second = (torch.stack([p.value.vectors[side] for p in predictions]).numpy() for side in (0, 1))
        return [Prediction(*found) for found in ranked(first, second, [p.value.texts[1] for p in predictions])]

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def scorer(self, predictions, examples):
        ranks = numpy.array([p.value["rank"] or numpy.inf for p in predictions])
        found = {"recall_at_1": ranks == 1, f"recall_at_{MOST}": ranks <= MOST, "mrr": 1 / ranks}
        return lambda rows: {name: float(values[rows].mean()) for name, values in found.items()}

    def per_row(self, predictions, examples):
        return [float(p.value["rank"] == 1) for p in predictions]

    def truth(self, example):
        return {"text": example[SIDES[1]], "rank": 1}

    def off(self, prediction, example):
        return 1 - 1 / (prediction.value["rank"] or numpy.inf)

    def baseline(self, rows):
        from penjing.tasks._likest_text import LikestText  # scikit-learn: 0.6 s

        return LikestText()

    def show(self, example):
        return {"text": example[SIDES[0]]}

    def details(self, value, example):
        if isinstance(value, dict):
            return {"told": value["text"]}
        return {"told": f"{len(value)} numbers, {' '.join(f'{number:.3f}' for number in value[:_TOLD])} ..."}


TASK = FeatureExtraction
