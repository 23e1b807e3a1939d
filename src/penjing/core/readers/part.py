"""One source of rows: what every reader gives and Examples strings together."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from penjing.core.arrow_cache import Stored
from penjing.core.media import Source

SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation", "test": "test"}
"""Names of files, of folders and in a column `split` that are official splits, in their order."""


@dataclass(frozen=True)
class Part:
    """The rows of a file, an archive or a folder.

    name      what errors call it: "sst2/train.csv"
    split     "train", "validation", "test" or another name; None where the source knows no splits
    stored    its rows
    place     number of a row, from 0 -> where a reader finds it
    source    a cell of a column of images or sounds -> where its bytes lie
    folder    what paths in such a column are relative to; None where the reader itself found the files
    notes     what a reader of the report should know of it
    unread    rows that its reader left out: place and reason, a sentence each
    """

    name: str
    split: str | None
    stored: Stored
    place: Callable[[int], str]
    source: Callable[[Any], Source]
    folder: Path | None = None
    notes: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def without(self, rows: Sequence[int]) -> "Part":
        """The same source but for these rows, in their order."""
        kept = numpy.delete(numpy.arange(len(self.stored.table)), rows)
        return self.moved(self.stored.without(rows), kept)

    def moved(self, stored: Stored, kept: numpy.ndarray) -> "Part":
        """The same source of which `stored` holds only these rows."""
        return replace(self, stored=stored, place=functools.partial(_moved, self.place, kept))


def _moved(place: Callable[[int], str], kept: numpy.ndarray, row: int) -> str:
    return place(int(kept[row]))
