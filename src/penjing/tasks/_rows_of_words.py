"""Rows of words and tags: made of a text and spans of it, and what is wrong with those that cannot be used."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
import pyarrow.compute as compute

from penjing.core.examples import Examples
from penjing.core.kinds import is_list
from penjing.tasks._spans import OUTSIDE, Span, tags_of
from penjing.tasks._words import cut


def misfits(examples: Examples) -> dict[int, str]:
    """Rows with as many tags as words are right; the others -> place and how many they have."""
    if not {"tokens", "tags"} <= {*examples.columns}:
        return {}
    columns = [examples.arrow(name) for name in ("tokens", "tags")]
    if not all(is_list(column.type) for column in columns):
        return {}
    words, tags = (compute.list_value_length(column).to_numpy() for column in columns)
    rows = numpy.flatnonzero((words != tags) & (words > 0) & (tags > 0)).tolist()  # of what is empty or missing others tell
    return {row: f"{examples.place(row)}: {int(words[row])} words and {int(tags[row])} tags" for row in rows}


def from_text(examples: Examples) -> tuple[Examples, dict[int, str]]:
    """Rows with a `text` as words, with `spans` as BIO tags; rows whose spans are none of words -> place and why.

    A span is {"start", "end", "label"}, in characters of the text, the last not included; where it has a "text" too that must stand there.
    """
    texts = [text if isinstance(text, str) else "" for text in examples.column("text")]
    parted = [cut(text) for text in texts]
    found = examples.with_column("tokens", [[word for word, _ in words] for words in parted], list, "text")
    if "spans" not in examples.columns:
        return found, misfits(found)
    tags, wrong = list[list[str]](), dict[int, str]()
    for row, (text, words, given) in enumerate(zip(texts, parted, examples.column("spans"))):
        try:
            tags.append(tags_of([*_placed(text, words, given or [])], len(words)))
        except _Wrong as problem:
            wrong[row] = f"{examples.place(row)}: {problem}"
            tags.append([OUTSIDE] * len(words))
    return found.with_column("tags", tags, list, "spans"), wrong


class _Wrong(Exception):
    """Why spans cannot become tags."""


def _placed(text: str, words: Sequence[tuple[str, int]], given: Any) -> Iterator[Span]:
    """The words of each span, in the order of the text."""
    begins = {start: i for i, (_, start) in enumerate(words)}
    ends = {start + len(word): i + 1 for i, (word, start) in enumerate(words)}
    behind = 0
    for start, end, label in sorted(_plain(text, span) for span in given):
        if start not in begins or end not in ends:
            raise _Wrong(f"the span from {start} to {end}, {text[start:end]!r}, begins or ends within a word")
        if begins[start] < behind:
            raise _Wrong(f"the span from {start} to {end}, {text[start:end]!r}, overlaps another")
        behind = ends[end]
        yield Span(label, begins[start], behind)


def _plain(text: str, span: Any) -> tuple[int, int, str]:
    """Start, end and label."""
    if not isinstance(span, dict) or not all(isinstance(span.get(name), kind) for name, kind in _PARTS.items()):
        raise _Wrong(f'a span is {str(span)[:60]!r}, not {{"start": 0, "end": 4, "label": "place"}}')
    start, end, label = (span[name] for name in _PARTS)
    if not 0 <= start < end <= len(text) or not label.strip():
        raise _Wrong(f"the span from {start} to {end}, {label!r}, is none of a text of {len(text)} characters")
    if span.get("text") not in (None, text[start:end]):
        raise _Wrong(f"the span from {start} to {end} is {text[start:end]!r} in the text, not {span['text']!r}")
    return start, end, label


_PARTS = {"start": int, "end": int, "label": str}
