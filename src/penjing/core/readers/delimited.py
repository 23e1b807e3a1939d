"""Comma- and tab-separated files: every value is text ("01" stays "01"), row 1 is the header, as in a spreadsheet."""

import csv
import functools
import io
from collections.abc import Iterator
from pathlib import Path

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.csv

from penjing.core.arrow_cache import ROW
from penjing.core.errors import DataError
from penjing.core.readers.source_file import explain_bytes, unpacked

DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OTHERS = "\t;|,"  # by which other programs part values
_BLOCK_BYTES = 8 << 20  # also the longest row; reading holds about 300 MB at most, whatever the file
_END = b"\n\n"  # put behind the file: it makes a blank row, unless a quote is still open there


def batches(path: Path, name: str, delimiter: str, unread: dict[int, str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """The rows with their numbers; rows without any value are left out.

    unread    where given, rows with too many or too few values are left out and written here: row -> why

    Raises DataError with the row for uneven rows, open quotes, wrong encoding, NUL bytes, double column names, and no rows at all.
    """
    uneven: list[pyarrow.csv.InvalidRow] = []
    next_row, num_rows, closed = 0, 0, True
    try:
        columns, header_row, header_lines = _header(path, name, delimiter)
        next_row = header_row + 1
        with unpacked(path, name) as file:
            for batch in _open(file, columns, header_lines, delimiter, uneven, unread):
                rows = _numbers(next_row, len(batch), list(unread or ()))
                next_row = int(rows[-1]) + 1 if len(rows) else next_row
                filled = functools.reduce(pyarrow.compute.or_, (pyarrow.compute.not_equal(column, "") for column in batch.columns))
                closed = not filled[-1].as_py() if len(batch) else closed
                numbered = pyarrow.RecordBatch.from_arrays([*batch.columns, pyarrow.array(rows)], [*columns, ROW])
                num_rows += filled.true_count
                yield numbered if filled.true_count == len(batch) else numbered.filter(filled)
    except UnicodeDecodeError as error:
        raise explain_bytes(path, name) or DataError(f"{name}: {error}") from None
    except pyarrow.ArrowInvalid as error:
        raise _explain(error, uneven, path, name, next_row) from None
    if not closed:
        raise _open_quote(name, next_row - 1)
    if num_rows == 0:
        raise DataError(f"{name}: only a header, no rows", wanted="one row an example below the header")


def _header(path: Path, name: str, delimiter: str) -> tuple[list[str], int, int]:
    """Column names, the header's row, and the line it ends in; blank rows may stand above it."""
    with unpacked(path, name) as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), delimiter=delimiter)  # type: ignore[type-var]
        try:
            number, cells = next((number, cells) for number, cells in enumerate(rows, 1) if any(cells))
        except StopIteration:
            raise DataError(f"{name}: only blank lines", wanted="a header row and rows below it") from None
        except csv.Error:  # the one error of this lenient reader: a value of more than 128 KiB
            raise _open_quote(name, 1) from None
        columns = [cell.strip() for cell in cells]
        if len(columns) == 1 and (other := next((mark for mark in _OTHERS if mark != delimiter and mark in columns[0]), None)):
            raise DataError(
                f"{name}, row {number}: the header is one column, {columns[0][:60]!r}; its values look parted by {other!r}",
                wanted=f"values parted by {delimiter!r}",
                fix="save it with tabs as a .tsv, or with commas as a .csv",
            )
        for column in columns:
            if columns.count(column) > 1:
                places = " and ".join(str(i) for i, other in enumerate(columns, 1) if other == column)
                raise DataError(f"{name}, row {number}: columns {places} are both called {column!r}", fix="rename one of them")
        return columns, number, rows.line_num


def _numbers(start: int, count: int, unread: list[int]) -> numpy.ndarray:
    """(count,) the numbers from `start` on that are not left out."""
    numbers = numpy.arange(start, start + count + len(unread))
    return numbers[~numpy.isin(numbers, unread)][:count]


def _open(
    file: io.BufferedIOBase, columns: list[str], skip: int, delimiter: str, uneven: list, unread: dict[int, str] | None
) -> pyarrow.csv.CSVStreamingReader:
    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        if unread is not None and not row.text.endswith(_END.decode()):
            unread[row.number] = _uneven(row)
            return "skip"
        uneven.append(row)
        return "error"

    return pyarrow.csv.open_csv(
        _Ended(file),
        pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=columns, skip_rows=skip),
        pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=False, invalid_row_handler=refuse),
        pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(columns, pyarrow.string()), strings_can_be_null=False),
        pyarrow.system_memory_pool(),  # gives all of it back afterwards; Arrow's own pool keeps 200 MB
    )


class _Ended(io.RawIOBase):
    """A file with _END behind it; it refuses NUL bytes, which Arrow would let through."""

    def __init__(self, file: io.BufferedIOBase):
        self._file, self._ended = file, False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(size)
        if b"\0" in piece:
            raise pyarrow.ArrowInvalid("NUL byte")
        if len(piece) == size or self._ended:
            return piece
        self._ended = True
        return piece + _END


def _explain(error: Exception, uneven: list, path: Path, name: str, next_row: int) -> DataError:
    if uneven:
        row = uneven[0]
        if row.text.endswith(_END.decode()):
            return _open_quote(name, row.number)
        return DataError(
            f"{name}, row {row.number}: {_uneven(row)}",
            wanted=f"{row.expected_columns} values a row",
            fix='put values that hold the delimiter between quotes, and write "" for a quote inside them',
        )
    if "straddl" in str(error):  # Arrow: a row longer than a block
        return _open_quote(name, next_row)
    return explain_bytes(path, name) or DataError(f"{name}: {error}")


def _uneven(row: pyarrow.csv.InvalidRow) -> str:
    lines = row.text.count("\n") + 1
    across = f" and runs over {lines} lines" if lines > 1 else ""
    return f"{row.actual_columns} values{across}, the header names {row.expected_columns}"


def _open_quote(name: str, row: int) -> DataError:
    return DataError(
        f"{name}, row {row}: a quote is opened and never closed",
        wanted=f"rows of at most {_BLOCK_BYTES >> 20} MiB whose quotes come in pairs",
        fix='close it, or write "" for a quote inside a quoted value',
    )
