"""Running text: a file of it is cut into passages, which one after the other are the file to the letter.

A row is a passage: `text`, and `before`, what stands before it in the file, so that a model of language has read on where a passage begins.
"""

import codecs
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow

from penjing.core.arrow_cache import ROW
from penjing.core.errors import DataError
from penjing.core.readers.source_file import BOM, explain_bytes, unpacked

SUFFIXES = (".txt",)
FEWEST, MOST, ROWS = 100, 4000, 200  # letters of a passage: so many that a small file has about so many rows, which get roles one by one
BEFORE = 2000  # letters
_LONGEST = 4  # passages that a line may be as long as; a longer one is cut at a space
_LETTER = re.compile(r"\S")
_PIECE_BYTES = 1 << 20
_BATCH_ROWS = 2048


class Passage(NamedTuple):
    """A part of a text, what stands before it there, and the number of its first line."""

    text: str
    before: str
    line: int


def batches(path: Path, name: str) -> Iterator[pyarrow.RecordBatch]:
    """The passages of a file, numbered by their first line.

    Raises DataError for what is not UTF-8, and for a file without a letter.
    """
    rows: list[Passage] = []
    size = min(MOST, max(FEWEST, path.stat().st_size // ROWS))
    for passage in passages(_pieces(path, name), size):
        rows.append(passage)
        if len(rows) == _BATCH_ROWS:
            yield _batch(rows)
            rows = []
    if rows:
        yield _batch(rows)


def passages(pieces: Iterable[str], size: int) -> Iterator[Passage]:
    """A text, given piece by piece, in passages of at least `size` letters, which end with a line; none is blank."""
    before, line = "", 1
    for text in _cut(pieces, size):
        yield Passage(text, before, line)
        before, line = (before + text)[-BEFORE:], line + text.count("\n")


def _cut(pieces: Iterable[str], size: int) -> Iterator[str]:
    held, enough = "", (_LONGEST + 1) * size
    for piece in pieces:
        held, start = held + piece, 0
        while len(held) - start > enough and (end := _end(held, start, size)) < len(held):
            yield held[start:end]
            start = end
        held = held[start:]
    while held.strip():
        end = _end(held, 0, size)
        end = end if held[end:].strip() else len(held)  # blanks at the end of a text stay with its last passage
        yield held[:end]
        held = held[end:]


def _end(text: str, start: int, size: int) -> int:
    """Where the passage ends that begins at `start`: behind a line, else behind a word, else anywhere; behind its first letter at least."""
    letter = _LETTER.search(text, start)
    least = max(start + size, letter.end() if letter else len(text))
    ends = (text.find(mark, least - 1, least + (_LONGEST - 1) * size) + 1 for mark in "\n ")
    return next(filter(None, ends), min(least, len(text)))


def _batch(rows: list[Passage]) -> pyarrow.RecordBatch:
    return pyarrow.RecordBatch.from_arrays([pyarrow.array(column) for column in zip(*rows)], ["text", "before", ROW])


def _pieces(path: Path, name: str) -> Iterator[str]:
    decoder, blank = codecs.getincrementaldecoder("utf-8")(), True
    with unpacked(path, name) as file:
        read = file.read(_PIECE_BYTES).removeprefix(BOM)
        while read:
            try:
                text = decoder.decode(read)
            except UnicodeDecodeError as error:
                raise explain_bytes(path, name, "line") or DataError(f"{name}: {error}") from None
            if "\0" in text:
                raise explain_bytes(path, name, "line") or DataError(f"{name}: a NUL byte")
            blank = blank and not text.strip()
            yield text.replace("\r\n", "\n")
            read = file.read(_PIECE_BYTES)
    if blank:
        raise DataError(f"{name}: no text", wanted="text in UTF-8")
