"""The baselines of pairs of texts: words and parts of words that both have, the rare ones counting most (tf-idf)."""

from collections.abc import Sequence
from typing import Any

import numpy
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer

from penjing.tasks._pairs import SIDES
from penjing.tasks._ranks import ranked


class LikestText(BaseEstimator):
    """Finds for each first text the likest of the second texts that it is given."""

    def fit(self, examples: Sequence[dict], answers: Sequence[Any]) -> "LikestText":
        self.rarity_ = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3), sublinear_tf=True, max_features=1 << 17)
        self.rarity_.fit(example[side] for example in examples for side in SIDES)
        return self

    def predict(self, examples: Sequence[dict]) -> list[Any]:
        first, second = (self.rarity_.transform(example[side] for example in examples) for side in SIDES)
        return [found for found, _ in ranked(first, second, [example[SIDES[1]] for example in examples])]


class Likeness(LikestText):
    """Tells how like the two texts of a row are, in [0, 1]."""

    def predict(self, examples: Sequence[dict]) -> list[float]:
        first, second = (self.rarity_.transform(example[side] for example in examples) for side in SIDES)
        return numpy.asarray(first.multiply(second).sum(1)).ravel().tolist()
