"""The baseline of questions about a text: the sentence that has most words with the question in common, or none."""

import re
from collections.abc import Sequence

import numpy
from sklearn.base import BaseEstimator
from sklearn.feature_extraction.text import TfidfVectorizer

from penjing.tasks._answers import NONE, Span, f1, references, span
from penjing.tasks._words import cut

_SENTENCE = re.compile(r"[^.!?。！？；\n]+[.!?。！？；]*\s*|\S")
_TRIED = 50  # thresholds


class LikestSentence(BaseEstimator):
    """Learns which words are rare, and below which likeness none is the better answer."""

    def fit(self, examples: Sequence[dict], answers: Sequence[Span]) -> "LikestSentence":
        self.rarity_ = TfidfVectorizer(tokenizer=_words, token_pattern=None, lowercase=True).fit(e["context"] for e in examples)
        self.least_ = -1.0
        likeness, spans = zip(*map(self._likest, examples))
        values = numpy.array([f1(said, references(example)) for said, example in zip(spans, examples)])
        nones = numpy.array([not answer["text"] for answer in answers], dtype=float)
        tried = [-1.0, *numpy.quantile(likeness, numpy.linspace(0, 1, _TRIED)), 2.0]
        self.least_ = max(tried, key=lambda least: numpy.where(numpy.array(likeness) > least, values, nones).mean())
        return self

    def predict(self, examples: Sequence[dict]) -> list[Span]:
        found = map(self._likest, examples)
        return [said if likeness > self.least_ else NONE for likeness, said in found]

    def _likest(self, example: dict) -> tuple[float, Span]:
        """The sentence whose words are most like those of the question, and how much."""
        context = example["context"]
        parts = [found.span() for found in _SENTENCE.finditer(context)]
        known = self.rarity_.transform([example["question"], *(context[start:end] for start, end in parts)])
        alike = (known[1:] @ known[0].T).toarray()[:, 0]
        best = int(alike.argmax())
        return float(alike[best]), span(context, *parts[best])


def _words(text: str) -> list[str]:
    return [word for word, _ in cut(text)]
