"""A table file as rows: which reader its name asks for, and what its rows are called."""

import functools
from pathlib import Path

from penjing.core.arrow_cache import ROW, Stored, converted
from penjing.core.media import Media
from penjing.core.readers import delimited, json_lines, parquet
from penjing.core.readers.part import Part

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def suffix(path: Path) -> str | None:
    """The format a file's name stands for, without .gz; None where it is no table."""
    found = Path(path.name.lower().removesuffix(".gz")).suffix
    return found if found in SUFFIXES else None


def stem(path: Path) -> str:
    """The name without its format: "train" of train.csv.gz."""
    return Path(path.name.removesuffix(".gz")).stem


def part(path: Path, name: str, split: str | None = None) -> Part:
    """The rows of a table.

    Raises DataError for whatever its reader cannot read.
    """
    kind = suffix(path)
    if kind in delimited.DELIMITERS:
        stored = converted(path, lambda: delimited.batches(path, name, delimited.DELIMITERS[kind]))
    elif kind == ".jsonl":
        stored = converted(path, lambda: json_lines.batches(path, name))
    else:
        stored = converted(path, lambda: parquet.batches(path, name))
    unit = "line" if kind == ".jsonl" else "row"
    place, media = functools.partial(_place, stored, name, unit), functools.partial(Media.of, path.parent)
    return Part(name, split, stored, place, media, path.parent, _notes(stored, name, unit))


def _place(stored: Stored, name: str, unit: str, row: int) -> str:
    return f"{name}, {unit} {stored.table[ROW][row].as_py()}"


def _notes(stored: Stored, name: str, unit: str) -> tuple[str, ...]:
    rows = stored.table[ROW]
    blank = rows[-1].as_py() - rows[0].as_py() + 1 - len(rows)
    return (f"{name}: {blank} blank {unit}s are no examples",) if blank else ()
