"""The baseline of tags: each word by itself, from its letters, its shape and its neighbours, by a linear model.

Letters   W words of all rows, F features, C tags
"""

import re
from collections.abc import Iterator, Sequence

import numpy
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import SGDClassifier

FEATURES = 1 << 18
_SHAPES = ((re.compile(r"[^\W\d_a-z]", re.ASCII), "X"), (re.compile(r"[a-z]"), "x"), (re.compile(r"\d"), "0"))


class LinearTagger(BaseEstimator):
    """Rows with `tokens` to lists of tags; learns by averaged steps of hinge loss, one tag against the rest."""

    def fit(self, examples, tags):
        """Source: Ratnaparkhi 1996, table 1, for the features; tags of neighbours are not among them."""
        learner = SGDClassifier(loss="modified_huber", alpha=3e-6, max_iter=4, tol=None, average=True, random_state=0)
        learner.fit(_hashed(examples), [tag for row in tags for tag in row])
        self.classes_, self.intercept_ = learner.classes_, learner.intercept_
        self.weights_ = csr_matrix(learner.coef_.astype(numpy.float32))
        return self

    def predict(self, examples):
        values = (_hashed(examples) @ self.weights_.T).toarray() + self.intercept_  # (W, C), or (W, 1) of two tags
        best = values.argmax(1) if len(self.classes_) > 2 else (values[:, 0] > 0).astype(int)
        ends = numpy.cumsum([len(example["tokens"]) for example in examples])
        return [part.tolist() for part in numpy.split(self.classes_[best], ends[:-1])]


def _hashed(examples: Sequence[dict]) -> csr_matrix:
    """(W, F)"""
    return FeatureHasher(FEATURES, input_type="string", dtype=numpy.float32).transform(
        features for example in examples for features in _features(example["tokens"])
    )


def _features(words: Sequence[str]) -> Iterator[list[str]]:
    """What is known of each word."""
    small, shapes = ([*map(of, words), "", ""] for of in (str.lower, _shape))  # places -1 and -2 are blank
    for i, word in enumerate(small[: len(words)]):
        before, after = small[i - 1], small[i + 1]
        ends = [f"{n}<{word[:n]}" for n in (1, 2, 3)] + [f">{n}{word[-n:]}" for n in (1, 2, 3, 4)]
        around = [f"-1{before}", f"-2{small[i - 2]}", f"+1{after}", f"+2{small[i + 2]}", f"-s{shapes[i - 1]}", f"+s{shapes[i + 1]}"]
        pairs = [f"-p{before} {word}", f"+p{word} {after}", f"-e{before[-3:]}", f"+e{after[-3:]}", f"s{shapes[i]}{i == 0}"]
        yield [f"w{word}", *ends, *around, *pairs]


def _shape(word: str) -> str:
    """McDonald's-5 as Xx'x-0: kinds of letters, runs of one kind once."""
    for kind, sign in _SHAPES:
        word = kind.sub(sign, word)
    return re.sub(r"(.)\1+", r"\1", word)[:8]
