"""The look at all rows before work begins: the first value that a stage could not use, with its place."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.compute as compute

from penjing.core.errors import DataError, nearest
from penjing.core.kinds import KINDS, Kind, is_text
from penjing.core.media import Media, leads_out
from penjing.core.readers.part import Part


def missing(source: str, name: str, there: list[str]) -> DataError:
    """The error for a column that is not there."""
    return DataError(
        f"{source}: no column {name!r}", wanted=nearest(name, there), fix=f"rename the column, or pass --columns {name}=<its name here>"
    )


def check(part: Part, name: str, data: pyarrow.ChunkedArray, kind: type, rows: numpy.ndarray) -> None:
    """Look for values of a column that are missing, empty, or not of the kind; only in `rows`, (rows of the part,) bool.

    Raises DataError with the first.
    """
    found = unusable(part, name, data, kind, rows)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DataError(found[min(found)] + more, wanted=KINDS[kind].words, fix="correct the row or take it out")


def unusable(part: Part, name: str, data: pyarrow.ChunkedArray, kind: type, rows: numpy.ndarray) -> dict[int, str]:
    """Those of `rows` whose values will not do -> place and reason.

    Raises DataError where the whole column holds another type.
    """
    wanted = KINDS[kind]
    if not wanted.fits(data.type) and data.null_count < len(data):
        raise DataError(
            f"{part.name}: column {name!r} holds {data.type}", wanted=wanted.words, fix="convert the column, or name another by --columns"
        )
    tests = {f"cannot be read as {wanted.words}": partial(_unusable, kind=wanted)}
    if issubclass(kind, Media) and part.folder is not None:
        tests["leads out of the folder of its table"] = partial(_outside, folder=part.folder)
        tests["names no file"] = partial(_no_file, folder=part.folder)
    found: dict[int, str] = {}
    for problem, bad in tests.items():
        for row in map(int, _where(part, data, rows, bad)):
            found.setdefault(row, f"{part.place(row)}: {name} {_told(data[row].as_py(), problem)}")
    return found


def _told(value: Any, problem: str) -> str:
    empty = value is None or value == [] or value == b"" or not str(value).strip()
    return "is empty" if empty else f"{str(value)[:60]!r} {problem}"


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
    return pyarrow.array([path is not None and not _is_file(folder / path) for path in _paths(array)], pyarrow.bool_())


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file may have
        return False


def _outside(array: pyarrow.Array, folder: Path) -> pyarrow.Array:
    return pyarrow.array([path is not None and leads_out(folder, path) for path in _paths(array)], pyarrow.bool_())


def _paths(array: pyarrow.Array) -> list[str | None]:
    """The path that each cell gives; None where the cell holds the bytes themselves."""
    if is_text(array.type):
        return array.to_pylist()
    if not pyarrow.types.is_struct(array.type):
        return [None] * len(array)
    in_cells = compute.struct_field(array, "bytes").is_valid()
    return compute.if_else(in_cells, None, compute.struct_field(array, "path")).to_pylist()
