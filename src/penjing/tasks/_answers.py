"""Answers as places in a context: read from rows, cut out of it, and compared as SQuAD and CMRC 2018 do."""

import bisect
import collections
import difflib
import functools
import re
import string
from collections.abc import Iterator, Sequence
from typing import Any

import regex

from penjing.core.contracts import Example
from penjing.core.examples import Examples

Span = dict[str, Any]
"""{"text", "start", "end"}: an answer and its place in characters of the context, the last not included; NONE where there is none."""
NONE: Span = {"text": "", "start": None, "end": None}
EXCERPT = 240  # characters of a context that a reader is shown
_HAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_CHINESE_SEGMENT = re.compile(rf"{_HAN.pattern}|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|\S")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CHINESE_MARKS = "-:_*^/\\~`+=，。：？！“”；’《》……·、「」（）－～『』"  # as the script of CMRC 2018 lists them
_NO_CHINESE_MARKS = str.maketrans("", "", _CHINESE_MARKS)


def located(examples: Examples) -> tuple[Examples, dict[int, str]]:
    """Rows whose `answers`, or `answer`, are {"text": [...], "answer_start": [...]}; those whose answers are no parts of the context."""
    source = next((name for name in ("answers", "answer") if name in examples.columns), None)
    if source is None or "context" not in examples.columns:
        return examples, {}
    answers, wrong = list[dict[str, list[Any]]](), dict[int, str]()
    for row, (context, given) in enumerate(zip(examples.column("context"), examples.column(source))):
        texts, starts = list[str](), list[int]()
        try:
            for text, start in _placed(context if isinstance(context, str) else "", given):
                texts.append(text)
                starts.append(start)
        except _Wrong as problem:
            wrong[row] = f"{examples.place(row)}: {problem}"
        answers.append({"text": texts, "answer_start": starts})
    return examples.with_column("answers", answers, dict), wrong


class _Wrong(Exception):
    """Why something cannot be an answer."""


def _placed(context: str, given: Any) -> Iterator[tuple[str, int]]:
    """Each answer with where it begins; `given` is a text, texts, or a struct of texts and beginnings; blank is no answer."""
    if given is None or isinstance(given, str):
        given = {"text": [given or ""]}
    elif isinstance(given, list):
        given = {"text": given}
    texts, starts = (list(given.get(name) or []) for name in ("text", "answer_start"))
    if starts and len(starts) != len(texts):
        raise _Wrong(f"{len(texts)} answers and {len(starts)} places where they begin")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise _Wrong(f"an answer is {str(text)[:60]!r}, not text")
        if text.strip():
            yield text, _checked(context, text, starts[number]) if starts else _only(context, text)


def _checked(context: str, text: str, start: Any) -> int:
    if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
        there = f", where {context[start : start + len(text)]!r} stands" if isinstance(start, int) and start >= 0 else ""
        raise _Wrong(f"the answer {_short(text)} does not begin at {start} of its context{there}")
    return start


def _only(context: str, text: str) -> int:
    times = context.count(text)
    if times != 1:
        how_often = f"occurs {times} times in its context, and no answer_start tells which" if times else "does not occur in its context"
        raise _Wrong(f"the answer {_short(text)} {how_often}")
    return context.index(text)


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def references(example: Example) -> list[Span]:
    """All right answers of a row; [] where it has none."""
    answers = example["answers"]
    return [{"text": text, "start": start, "end": start + len(text)} for text, start in zip(answers["text"], answers["answer_start"])]


def span(context: str, start: int, end: int) -> Span:
    """The part of the context from `start` to `end`, without white space around it and with all of the signs that it would cut."""
    ends = _ends_of_signs(context)
    while start < end and context[start].isspace():
        start += 1
    while start < end and context[end - 1].isspace():
        end -= 1
    if ends is not None:
        before, behind = bisect.bisect_right(ends, start), bisect.bisect_left(ends, end)
        start, end = ends[before - 1] if before else 0, ends[behind]
    return {"text": context[start:end], "start": start, "end": end}


@functools.lru_cache(256)
def _ends_of_signs(text: str) -> list[int] | None:
    """Where each sign ends, an emoji with all that it is made of; None where every character is a sign."""
    return None if text.isascii() else [found.end() for found in regex.finditer(r"\X", text)]


def cut_around(example: Example) -> str:
    """The context, or where that is long what stands around its first answer."""
    context, right = example["context"], references(example) if "answers" in example else []
    if len(context) <= EXCERPT:
        return context
    middle = (right[0]["start"] + right[0]["end"]) // 2 if right else 0
    start = max(0, min(middle - EXCERPT // 2, len(context) - EXCERPT))
    shown = span(context, start, start + EXCERPT)
    return ("… " if shown["start"] else "") + shown["text"] + (" …" if shown["end"] < len(context) else "")


def exact(said: Span, right: Sequence[Span]) -> float:
    """1 where the answer is one of the references but for case, punctuation and, in English, articles; else 0."""
    return max(float(_plain(said["text"], it["text"]) == _plain(it["text"], said["text"])) for it in right or [NONE])


def f1(said: Span, right: Sequence[Span]) -> float:
    """How much the answer has in common with that of the references which is most like it."""
    return max(_f1(said["text"], it["text"]) for it in right or [NONE])


def _plain(text: str, other: str) -> str:
    if _HAN.search(text + other):
        return text.lower().strip().translate(_NO_CHINESE_MARKS)
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _f1(said: str, true: str) -> float:
    """Of words in any order; in Chinese of the longest run of characters and words that both have.

    Source: the scripts of SQuAD 2.0 and CMRC 2018, which cuts words in Latin letters by nltk, where here punctuation ends them.
    """
    one, other = _plain(said, true), _plain(true, said)
    if not one or not other:
        return float(one == other)
    if _HAN.search(said + true):
        ours, theirs = _CHINESE_SEGMENT.findall(one), _CHINESE_SEGMENT.findall(other)
        shared = difflib.SequenceMatcher(None, ours, theirs, autojunk=False).find_longest_match().size
    else:
        ours, theirs = one.split(), other.split()
        shared = (collections.Counter(ours) & collections.Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))
