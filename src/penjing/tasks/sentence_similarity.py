"""How alike two texts are, as a number.

Data     columns `sentence1`, `sentence2`, `score`: higher where the two are more alike, in any unit; 1 and 0 will do
Metric   spearman, the rank correlation of cosine and score; pearson
Explain  cosine of the two texts, per token

The answer is the cosine of the two vectors, which only says which pairs are more alike than others: where a row of a batch has a higher
score than another, it learns to have a higher cosine.

Letters  N texts of a batch, B its rows, D numbers of a vector
Source   Su 2022, "CoSENT: a more efficient sentence vector scheme than Sentence-BERT", kexue.fm/archives/8847, with its scale of 20
"""

import numpy
import torch

from penjing.core.contracts import Prediction, RowLoss
from penjing.tasks._nearest import SHARPNESS
from penjing.tasks._pairs import SIDES, VECTORS, Pairs


class SentenceSimilarity(Pairs):
    columns, target_columns = {**dict.fromkeys(SIDES, str), "score": float}, ("score",)
    primary, interact = "spearman", True
    question, answer = (
        ('["One text.", "Another text."]', ", truncation=True, padding=True"),
        VECTORS + "print(float(vectors[0] @ vectors[1]))",
    )

    def scored(self, example):
        return {"score": float(example["score"])} if "score" in example else {}

    def logits(self, outputs, batch):
        return self.target(outputs, batch)[:, None], batch.rows[0::2]

    def loss(self, outputs, batch):
        """The logarithm of 1 + the sum of exp(SHARPNESS x (how much more alike)) over the pairs of rows that stand the wrong way round.

        It is of the batch as a whole, and shared out evenly.
        """
        found, scores = self.target(outputs, batch), batch.targets["score"]
        wrong = SHARPNESS * (found[None, :] - found[:, None])[scores[:, None] > scores[None, :]]
        total = torch.cat([wrong, wrong.new_zeros(1)]).logsumexp(0)
        return RowLoss((total / len(found)).expand(len(found)), torch.ones(len(found), dtype=torch.int64, device=found.device))

    def decode(self, outputs, batch, processor):
        return [Prediction(cosine) for cosine in self.target(outputs, batch).tolist()]

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def scorer(self, predictions, examples):
        from scipy.stats import rankdata

        said, true = numpy.array([p.value for p in predictions]), numpy.array([self.truth(example) for example in examples])

        def score(rows):
            chosen = said[rows], true[rows]
            return {"spearman": _correlation(*map(rankdata, chosen)), "pearson": _correlation(*chosen)}

        return score

    def truth(self, example):
        return float(example["score"])

    def off(self, prediction, example):
        return abs(prediction.value - self.truth(example))

    def scale(self, examples):
        true = numpy.array([self.truth(example) for example in examples])
        return float(true.mean()), float(true.std())

    def baseline(self, rows):
        from penjing.tasks._likest_text import Likeness  # scikit-learn: 0.6 s

        return Likeness()


def _correlation(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Pearson's; 0 where either is the same in all rows."""
    one, other = one - one.mean(), other - other.mean()
    size = float(numpy.sqrt((one @ one) * (other @ other)))
    return float(one @ other) / size if size > 0 else 0.0


TASK = SentenceSimilarity
