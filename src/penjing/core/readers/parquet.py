"""Parquet files, whole or gzipped; types are kept, dictionary columns become their values."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet

from penjing.core.arrow_cache import ROW
from penjing.core.errors import DataError
from penjing.core.readers.source_file import unpacked

_BATCH_BYTES = 8 << 20
_MOST_ROWS = 65536


def batches(path: Path, name: str) -> Iterator[pyarrow.RecordBatch]:
    """The rows, numbered from 1.

    Raises DataError where the file is no parquet, is damaged, holds two columns of one name, or no rows.
    """
    next_row = 1
    with ExitStack() as stack:
        source = stack.enter_context(unpacked(path, name))
        if path.suffix == ".gz":  # parquet is read from its end, so it needs a file
            plain = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(source, plain)
            source = plain  # type: ignore[assignment]
        try:
            file = pyarrow.parquet.ParquetFile(source)
            _check(file, name)
            for batch in file.iter_batches(_rows_of_a_batch(file.metadata)):
                columns = [c.dictionary_decode() if pyarrow.types.is_dictionary(c.type) else c for c in batch.columns]
                rows = numpy.arange(next_row, next_row := next_row + len(batch))
                yield pyarrow.RecordBatch.from_arrays([*columns, pyarrow.array(rows)], [*batch.schema.names, ROW])
        except (pyarrow.ArrowException, OSError) as error:
            place = f", after row {next_row - 1}" if next_row > 1 else ""
            raise DataError(
                f"{name}{place}: not a complete parquet file ({error})", wanted="parquet", fix="fetch or write the file again"
            ) from None


def _check(file: pyarrow.parquet.ParquetFile, name: str) -> None:
    names = file.schema_arrow.names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{name}: more than one column is called {twice[0]!r}", fix="rename one of them")
    if file.metadata.num_rows == 0:
        raise DataError(f"{name}: no rows", wanted="one row an example")


def _rows_of_a_batch(metadata: pyarrow.parquet.FileMetaData) -> int:
    """So many that a batch stays small, whether rows are labels or photographs."""
    num_bytes = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    return int(min(_MOST_ROWS, max(1, _BATCH_BYTES * metadata.num_rows // max(1, num_bytes))))
