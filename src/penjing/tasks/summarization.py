"""A text in few words: a headline, a title, a sentence.

Data     columns `text` (or a list of its sentences), `summary` (one, or a list of several right ones)
Metric   rouge_l (primary), rouge_1 and rouge_2, F1 of each row against the right answer that is closest, by rouge-score: words in lower
         case, not stemmed; Chinese and Japanese by character
Explain  logits of the likeliest tokens, summed or of one of them, per token

Source   Lin 2004, "ROUGE: a package for automatic evaluation of summaries"
"""

import functools
import importlib.metadata
import re
from collections.abc import Sequence
from typing import Any

import numpy
from sklearn.base import BaseEstimator

from penjing.tasks._text_to_text import TextToText

KINDS = {"rouge_l": "rougeL", "rouge_1": "rouge1", "rouge_2": "rouge2"}
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")
_SENTENCE = re.compile(r".+?(?:[。！？]|[.!?](?=\s|$)|$)", re.S)


class Summarization(TextToText):
    columns, target_columns = {"text": str, "summary": list}, ("summary",)
    primary, needs = "rouge_l", ("rouge_score", "text")

    def scorer(self, predictions, examples):
        values = numpy.array([list(_rouge(p.value, self.right(example)).values()) for p, example in zip(predictions, examples)])  # (B, 3)
        return lambda rows: dict(zip(KINDS, values[rows].mean(0).tolist()))

    def per_row(self, predictions, examples):
        return [_rouge(p.value, self.right(example))[self.primary] for p, example in zip(predictions, examples)]

    def signature(self, examples):
        return f"rouge-score {importlib.metadata.version('rouge-score')}, words in lower case, Chinese by character"

    def off(self, prediction, example):
        return 1 - _rouge(prediction.value, self.right(example))[self.primary]

    def baseline(self, rows):
        return FirstSentence()


class FirstSentence(BaseEstimator):
    """The text up to the end of its first sentence."""

    def fit(self, examples: Sequence[dict[str, Any]], answers: Sequence[str]) -> "FirstSentence":
        return self

    def predict(self, examples: Sequence[dict[str, Any]]) -> list[str]:
        return [found.group() if (found := _SENTENCE.match(example["text"].strip())) else "" for example in examples]


class _Words:
    """What rouge-score cuts words with: its own knows no letter but a to z."""

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(text.lower())


@functools.cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # of an extra

    return RougeScorer([*KINDS.values()], tokenizer=_Words())


def _rouge(said: str, references: Sequence[str]) -> dict[str, float]:
    found = _scorer().score_multi(references, said)
    return {name: found[theirs].fmeasure for name, theirs in KINDS.items()}


TASK = Summarization
