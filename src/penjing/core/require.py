"""The look at all rows before work begins: the first value that a stage could not use, with its place."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy
import pyarrow
import pyarrow.compute as compute

from penjing.core.errors import DataError, nearest
from penjing.core.kinds import KINDS, Kind, is_text
from penjing.core.media import Media
from penjing.core.readers.part import Part


def missing(source: str, name: str, there: list[str]) -> DataError:
    """The error for a column that is not there."""
    return DataError(
        f"{source}: no column {name!r}", wanted=nearest(name, there), fix=f"rename the column, or pass --columns {name}=<its name here>"
    )


def check(part: Part, name: str, data: pyarrow.ChunkedArray, kind: type, rows: numpy.ndarray, gaps_allowed: bool) -> None:
    """Look for values of a column that are missing, empty, or not of the kind; only in `rows`, (rows of the part,) bool.

    Raises DataError with the first.
    """
    wanted = KINDS[kind]
    if not wanted.fits(data.type) and data.null_count < len(data):
        raise DataError(
            f"{part.name}: column {name!r} holds {data.type}", wanted=wanted.words, fix="convert the column, or name another by --columns"
        )
    if gaps_allowed:
        return
    found, problem = _where(part, data, rows, partial(_unusable, kind=wanted)), f"cannot be read as {wanted.words}"
    if not len(found) and kind is Media and is_text(data.type) and part.folder is not None:
        found, problem = _where(part, data, rows, partial(_no_file, folder=part.folder)), "names no file"
    if len(found):
        value = data[int(found[0])].as_py()
        empty = value is None or value == [] or value == b"" or not str(value).strip()
        shown = f"{name} is empty" if empty else f"{name} {str(value)[:60]!r} {problem}"
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DataError(f"{part.place(int(found[0]))}: {shown}{more}", wanted=wanted.words, fix="correct the row or take it out")


def _where(part: Part, data: pyarrow.ChunkedArray, rows: numpy.ndarray, bad: Callable[[pyarrow.Array], pyarrow.Array]) -> numpy.ndarray:
    """The rows whose values are bad, batch by batch, so that a mapped column never stays in memory whole."""
    found, start = [numpy.empty(0, numpy.int64)], 0
    for chunk in data.chunks:
        found.append(start + numpy.flatnonzero(bad(chunk).to_numpy(zero_copy_only=False) & rows[start : start + len(chunk)]))
        start += len(chunk)
        part.stored.release()
    return numpy.concatenate(found)


def _unusable(array: pyarrow.Array, kind: Kind) -> pyarrow.Array:
    """(rows,) Arrow booleans: null, empty, or not to be converted."""
    if pyarrow.types.is_null(array.type):
        return array.is_null()
    return compute.or_(array.is_null(), compute.fill_null(kind.bad(array), True))


def _no_file(array: pyarrow.Array, folder: Path) -> pyarrow.Array:
    return pyarrow.array([not (folder / value).is_file() for value in array.to_pylist()], pyarrow.bool_())
