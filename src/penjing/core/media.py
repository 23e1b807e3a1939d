"""A picture or a sound that is decoded when asked for, wherever its bytes lie: a file, a cell of a table, an archive, an array.

What both have in common; core/image.py and core/sound.py decode.
"""

import builtins
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy

from penjing.core import archives
from penjing.core.archives import Member
from penjing.core.errors import DataError

Source = Path | bytes | Member | numpy.ndarray


@dataclass(frozen=True, eq=False)
class Media(ABC):
    """One thing to look at or to listen to, not decoded yet.

    source    a file, encoded bytes, a file in an archive, or decoded values
    place     what errors call it: "reviews.csv, row 7"
    """

    article: ClassVar[str]
    noun: ClassVar[str]
    """What errors call such a thing."""
    column: ClassVar[str]
    """A column of this name holds such things, be it text; then it is a path."""
    suffixes: ClassVar[tuple[str, ...]]
    """Files that count as such things when a folder is read; upper case too."""

    source: Source = field(repr=False)
    place: str = "here"

    @abstractmethod
    def key(self) -> builtins.bytes:
        """What it shows or sounds like, as bytes: equal for the same values whatever their file format."""

    @abstractmethod
    def held(self) -> Self:
        """The same with decoded values as its source, so that it is not decoded again."""

    @abstractmethod
    def encode(self, values: numpy.ndarray) -> builtins.bytes:
        """Decoded values as a file."""

    def bytes(self) -> builtins.bytes:
        """The encoded file; values are encoded without loss.

        Raises DataError where the file is missing or its archive damaged.
        """
        try:
            if isinstance(self.source, Path):
                return self.source.read_bytes()
            if isinstance(self.source, Member):
                return archives.read(self.source)
        except OSError as error:
            raise DataError(
                f"{self.place}: cannot read the {self.noun} ({error})", fix="put the file in its place or take out the row"
            ) from None
        return self.encode(self.source) if isinstance(self.source, numpy.ndarray) else self.source

    def damaged(self, content: builtins.bytes, problem: str, wanted: str) -> DataError:
        """The error for a file that is not what it should be."""
        start = f"{len(content)} bytes that begin with {content[:8]!r}"
        return DataError(
            f"{self.place}: damaged {self.noun} ({problem}; {start})", wanted=wanted, fix=f"replace the {self.noun} or take out the row"
        )


def leads_out(folder: Path, path: str | Path) -> bool:
    """Whether a path, relative to `folder` or absolute, ends outside of it, by its steps or by a link."""
    inside = os.path.realpath(folder)
    return os.path.commonpath([inside, os.path.realpath(folder / path)]) != inside


def in_cell(folder: Path, value: Any) -> Source:
    """Where a table's cell says that its bytes lie: bytes, {"bytes", "path"} as the Hugging Face hub writes them, or a path in `folder`."""
    if isinstance(value, dict):
        value = value["bytes"] if value["bytes"] is not None else value["path"]
    return value if isinstance(value, bytes) else folder / value
