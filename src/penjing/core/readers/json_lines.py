"""Files with one JSON object a line. Types are kept; a column that some lines lack is empty there.

The standard library parses: Arrow's own JSON reader turns text that looks like a date into a date.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow

from penjing.core.arrow_cache import ROW, StartOver
from penjing.core.errors import DataError
from penjing.core.readers.source_file import BOM, explain_bytes, unpacked

_BATCH_ROWS, _BATCH_BYTES = 8192, 8 << 20
Rows = dict[int, dict[str, Any]]
"""Parsed lines by their number, from 1."""


def batches(path: Path, name: str, unread: dict[int, str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """The rows. The first of them tell the columns and their types; where a later one tells otherwise the file is read to its end for them.

    unread    where given, lines that are no JSON object are left out and written here: line -> why
    Raises DataError with the line where it is not a JSON object, or holds a value of another type than the lines above; StartOver.
    """
    schema, pieces = pyarrow.schema([]), _parsed(path, name, unread)
    for rows in pieces:
        found = _extended(schema, rows, name)
        if schema.names and found != schema:
            for later in pieces:
                found = _extended(found, later, name)
            raise StartOver(_batch(again, found, name) for again in _parsed(path, name, unread))
        schema = found
        yield _batch(rows, schema, name)
    if not schema.names:
        raise DataError(f"{name}: no rows", wanted="one JSON object a line")


def _batch(rows: Rows, schema: pyarrow.Schema, name: str) -> pyarrow.RecordBatch:
    numbers = pyarrow.array(list(rows), pyarrow.int64())
    try:
        columns = [pyarrow.array([row.get(column.name) for row in rows.values()], column.type) for column in schema]
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):  # mixed types within one batch, which infer_type lets through
        raise _misfit(rows, pyarrow.schema([]), name) from None
    return pyarrow.RecordBatch.from_arrays([*columns, numbers], [*schema.names, ROW])


def _parsed(path: Path, name: str, unread: dict[int, str] | None) -> Iterator[Rows]:
    rows: Rows = {}
    num_bytes = 0
    with unpacked(path, name) as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(BOM).strip() if number == 1 else line.strip()
            if content:
                num_bytes += len(content)
                try:
                    rows[number] = _object(content, path, name, number)
                except _NoObject as error:
                    if unread is None:
                        raise error.of(name, number) from None
                    unread[number] = str(error)
            if len(rows) == _BATCH_ROWS or num_bytes > _BATCH_BYTES:
                yield rows
                rows, num_bytes = {}, 0
    if rows:
        yield rows


def _object(content: bytes, path: Path, name: str, number: int) -> dict[str, Any]:
    try:
        value = json.loads(content.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise explain_bytes(path, name, "line") or DataError(f"{name}, line {number}: {error}") from None
    except (json.JSONDecodeError, RecursionError) as error:
        raise _NoObject(f"not JSON ({error})") from None
    if not isinstance(value, dict) or not value:
        raise _NoObject(f"{content[:40].decode(errors='replace')!r} is not an object with values")
    return value


class _NoObject(Exception):
    """Why a line gives no row."""

    def of(self, name: str, number: int) -> DataError:
        return DataError(
            f"{name}, line {number}: {self}",
            wanted='one object a line, such as {"text": "good", "label": "positive"}',
            fix="correct the line; a file that holds one long list becomes lines by: jq -c '.[]' list.json > lines.jsonl",
        )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _NoObject(f"the name {next(name for name in names if names.count(name) > 1)!r} is there twice in one object")
    return found


def _extended(schema: pyarrow.Schema, rows: Rows, name: str) -> pyarrow.Schema:
    """The schema that also fits `rows`."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    try:
        found = pyarrow.schema({column: pyarrow.infer_type([row.get(column) for row in rows.values()]) for column in columns})
        return pyarrow.unify_schemas([schema, found], promote_options="permissive")
    except pyarrow.ArrowException:
        raise _misfit(rows, schema, name) from None


def _misfit(rows: Rows, schema: pyarrow.Schema, name: str) -> DataError:
    """The first value that does not fit the lines above."""
    for number, row in rows.items():
        for column, value in row.items():
            try:
                found = pyarrow.schema({column: pyarrow.infer_type([value])})
                schema = pyarrow.unify_schemas([schema, found], promote_options="permissive")
                pyarrow.array([value], schema.field(column).type)
            except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError) as error:
                above = schema.field(column).type if column in schema.names else "no value"
                return DataError(
                    f"{name}, line {number}: {column} {str(value)[:40]!a} cannot be stored ({error})",
                    wanted=f"one type a column; the lines above hold {above}",
                    fix="correct the line, or write this column as text in every line",
                )
    return DataError(f"{name}, line {next(iter(rows))} and below: values of mixed types in one column", wanted="one type a column")
