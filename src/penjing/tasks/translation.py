"""A text in another language.

Data     columns `text`, `translation` (one, or a list of several right ones); two columns named by their languages (en, de) are these in
         their order, and so are the fields of the hub's column `translation`
Metric   bleu (primary) and chrf of all rows together, by sacrebleu
Explain  logits of the likeliest tokens, summed or of one of them, per token

Source   Papineni, Roukos, Ward, Zhu 2002 (BLEU); Popović 2015 (chrF), here chrF2; Post 2018, "A call for clarity in reporting BLEU scores"
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy
import pyarrow
from sklearn.base import BaseEstimator

from penjing.core.examples import Examples
from penjing.core.kinds import is_list, is_text
from penjing.tasks._text_to_text import TextToText, gathered, is_chinese

_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # Thai, Lao, Khmer, Japanese, Korean
_SAMPLE = 100  # right answers that tell which script it is


class Translation(TextToText):
    columns, target_columns = {"text": str, "translation": list}, ("translation",)
    primary, needs = "bleu", ("sacrebleu", "text")

    @classmethod
    def adapt(cls, examples):
        if any(map(pyarrow.types.is_struct, examples.types("translation"))):
            return _of_fields(examples)
        named = [name for name in examples.columns if _LANGUAGE.fullmatch(name) and all(_holds_texts(t) for t in examples.types(name))]
        wanted = [name for name in cls.columns if name not in examples.columns]
        if not wanted or len(named) > 2:
            return super().adapt(examples)
        for name, source in zip(wanted, named):
            examples = gathered(examples, name, source) if name in cls.target_columns else examples.rename({source: name})
        return super().adapt(_noted(examples, named) if wanted == [*cls.columns] and len(named) == 2 else examples)

    def scorer(self, predictions, examples):
        said, references = [p.value for p in predictions], [self.right(example) for example in examples]
        metrics = _metrics(_tokenizer(references))
        counts = {name: numpy.array(_counts(metric, said, references)) for name, metric in metrics.items()}  # (B, numbers to add up)

        def score(rows):
            added = {name: each[rows].sum(0).tolist() for name, each in counts.items()}
            return {name: metrics[name]._compute_score_from_stats(each).score / 100 for name, each in added.items()}

        return score

    def signature(self, examples):
        references = [self.right(example) for example in examples]
        numbers, metrics = {*map(len, references)}, _metrics(_tokenizer(references))
        for metric in metrics.values():
            metric.num_refs = max(numbers) if len(numbers) == 1 else -1  # which it writes as var
        return "; ".join(f"{name} {metric.get_signature()}" for name, metric in metrics.items())

    def off(self, prediction, example):
        return 1 - _metrics("13a")["chrf"].sentence_score(prediction.value, self.right(example)).score / 100

    def baseline(self, rows):
        return NearestSentence()


class NearestSentence(BaseEstimator):
    """The translation of the training text whose words are most like those of the text."""

    def fit(self, examples: Sequence[dict[str, Any]], answers: Sequence[str]) -> "NearestSentence":
        from sklearn.feature_extraction.text import TfidfVectorizer  # 0.6 s

        self.rarity_ = TfidfVectorizer(sublinear_tf=True, token_pattern=r"[\u3040-\u30ff\u3400-\u9fff]|\w+")
        self.known_, self.answers_ = self.rarity_.fit_transform(example["text"] for example in examples).T.tocsc(), [*answers]
        return self

    def predict(self, examples: Sequence[dict[str, Any]]) -> list[str]:
        alike = self.rarity_.transform([example["text"] for example in examples]) @ self.known_
        return [self.answers_[int(i)] for i in numpy.asarray(alike.argmax(1)).ravel()]


@functools.cache
def _metrics(tokenizer: str) -> dict[str, Any]:
    from sacrebleu.metrics import BLEU, CHRF  # of an extra

    return {"bleu": BLEU(tokenize=tokenizer), "chrf": CHRF()}


def _counts(metric: Any, said: Sequence[str], references: Sequence[Sequence[str]]) -> list[list[int]]:
    """What the metric adds up over rows, of each row: matches of n-grams, how many there are, lengths."""
    most = max(map(len, references))
    streams = [[several[i] if i < len(several) else None for several in references] for i in range(most)]
    return metric._extract_corpus_statistics(said, streams)  # type: ignore[no-any-return]


def _tokenizer(references: Sequence[Sequence[str]]) -> str:
    """What sacrebleu is to cut words with."""
    text = "".join(several[0] for several in references[:_SAMPLE])
    if is_chinese(text):
        return "zh"
    return "char" if len(_NO_SPACES.findall(text)) > len(text) / 4 else "13a"


def _holds_texts(kind: pyarrow.DataType) -> bool:
    return is_text(kind) or (is_list(kind) and is_text(kind.value_type))


def _of_fields(examples: Examples) -> tuple[Examples, dict[int, str]]:
    """Rows whose `translation` is {"en": "a dog", "de": "ein Hund"}, of which the first field is translated."""
    pairs = [{} if value is None else value for value in examples.column("translation")]
    languages = [field.name for field in examples.types("translation")[0]]
    texts, answers = ([pair.get(language) for pair in pairs] for language in (languages * 2)[:2])
    found = examples.with_column("text", texts, str, "translation")
    found = found.with_column("translation", [[a] if a else [] for a in answers], list)
    return _noted(found, languages[:2]), {}


def _noted(examples: Examples, languages: Sequence[str]) -> Examples:
    note = f"translated from {languages[0]} to {languages[1]}, as the columns stand; --columns text={languages[1]} is the other way"
    return replace(examples, notes=(*examples.notes, note))


TASK = Translation
