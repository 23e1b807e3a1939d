"""A table file as rows: which reader its name asks for, and what its rows are called."""

import functools
from collections.abc import Collection
from pathlib import Path

from penjing.core.arrow_cache import ROW, Stored, converted
from penjing.core.media import in_cell
from penjing.core.readers import conll, delimited, json_lines, parquet, plain_text
from penjing.core.readers.part import Part

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet", *conll.SUFFIXES, *plain_text.SUFFIXES)
_BY_LINE = (".jsonl", *conll.SUFFIXES, *plain_text.SUFFIXES)  # the others count rows


def suffix(path: Path) -> str | None:
    """The format a file's name stands for, without .gz; None where it is no table."""
    found = Path(path.name.lower().removesuffix(".gz")).suffix
    return found if found in SUFFIXES else None


def stem(path: Path) -> str:
    """The name without its format: "train" of train.csv.gz and of train.tar.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def part(path: Path, name: str, split: str | None = None, skip_bad: bool = False) -> Part:
    """The rows of a table.

    skip_bad    leave out rows with too many or too few values, lines that are no JSON object and uneven sentences, and say which

    Raises DataError for whatever its reader cannot read.
    """
    kind = suffix(path)
    unread: dict[int, str] | None = {} if skip_bad else None
    if kind in delimited.DELIMITERS:
        stored = converted(path, lambda: delimited.batches(path, name, delimited.DELIMITERS[kind], unread), unread)
    elif kind == ".jsonl":
        stored = converted(path, lambda: json_lines.batches(path, name, unread), unread)
    elif kind in conll.SUFFIXES:
        stored = converted(path, lambda: conll.batches(path, name, unread), unread)
    elif kind in plain_text.SUFFIXES:
        stored = converted(path, lambda: plain_text.batches(path, name))
    else:
        stored = converted(path, lambda: parquet.batches(path, name))
    unit = "line" if kind in _BY_LINE else "row"
    many_lines = kind in (*conll.SUFFIXES, *plain_text.SUFFIXES)  # in a row
    notes = () if many_lines else _notes(stored, name, unit, unread or ())
    place, source = functools.partial(_place, stored, name, unit), functools.partial(in_cell, path.parent)
    left_out = tuple(f"{name}, {unit} {number}: {problem}" for number, problem in (unread or {}).items())
    return Part(name, split, stored, place, source, path.parent, notes, left_out)


def _place(stored: Stored, name: str, unit: str, row: int) -> str:
    return f"{name}, {unit} {stored.table[ROW][row].as_py()}"


def _notes(stored: Stored, name: str, unit: str, unread: Collection[int]) -> tuple[str, ...]:
    rows = stored.table[ROW]
    first, last = rows[0].as_py(), rows[-1].as_py()
    blank = last - first + 1 - len(rows) - sum(first < number < last for number in unread)
    return (f"{name}: {blank} blank {unit}s are no examples",) if blank else ()
