"""One source of rows: what every reader gives and Examples strings together."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core.arrow_cache import Stored
from penjing.core.media import Media


@dataclass(frozen=True)
class Part:
    """The rows of a file, an archive or a folder.

    name      what errors call it: "sst2/train.csv"
    split     "train", "validation", "test" or another name; None where the source knows no splits
    stored    its rows
    place     number of a row, from 0 -> where a reader finds it
    media     a cell of the table and its place -> the image
    folder    what paths in an image column are relative to; None where the reader itself found the images
    notes     what a reader of the report should know of it
    """

    name: str
    split: str | None
    stored: Stored
    place: Callable[[int], str]
    media: Callable[[Any, str], Media]
    folder: Path | None = None
    notes: tuple[str, ...] = ()
