"""Tables converted once to Arrow files, which are mapped into memory: a table larger than memory opens at once.

Beside the table's own columns each row carries its place in the source under the name ROW.
"""

import hashlib
import itertools
import json
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow

from penjing.core.errors import DataError, OptionError
from penjing.core.progress import progress
from penjing.core.runtime import cache_folder

ROW = "\0row"
"""Hidden column, int64: the row's number in the source as a reader of that source counts; no file can name a column so."""
READER_VERSION = 3  # raise it when a reader changes what it makes of a file
_PLAIN = (".csv", ".tsv", ".jsonl", ".conllu", ".conll", ".txt")
_RESIDENT_BYTES = 256 << 20
_CELL_BYTES = 4 << 20  # Linux may map a 2 MiB page of its file cache at each of the two places that reading a cell touches


class StartOver(Exception):
    """What a reader raises when the rows so far were not what they seemed; `batches` gives them all, from the first."""

    def __init__(self, batches: Iterator[pyarrow.RecordBatch]):
        super().__init__()
        self.batches = batches


class Stored:
    """A table that is mapped from the cache, or one small enough to be held.

    table     its columns; string and binary values are read from disk when touched
    sha256    of the source's content
    """

    def __init__(self, table: pyarrow.Table, sha256: str, memory: mmap.mmap | None = None):
        self.table, self.sha256, self._memory, self._touched = table, sha256, memory, 0
        self._size = len(memory) if memory is not None else 0

    @classmethod
    def open(cls, path: Path) -> "Stored":
        """Map a file of the cache; the values are read when touched."""
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        table = pyarrow.ipc.open_file(pyarrow.py_buffer(memory)).read_all()
        return cls(table, table.schema.metadata[b"sha256"].decode(), memory)

    def with_column(self, name: str, values: pyarrow.Array) -> "Stored":
        """The same table with one column more, in place of one of that name."""
        table = self.table.drop_columns([name]) if name in self.table.column_names else self.table
        return Stored(table.append_column(name, values), self.sha256, self._memory)

    def without(self, rows: Sequence[int]) -> "Stored":
        """The same table but for these rows, in their order, which are cut out and not copied; its hash says so."""
        ends = [-1, *rows, len(self.table)]
        pieces = [self.table.slice(start + 1, end - start - 1) for start, end in itertools.pairwise(ends)]
        sha256 = hashlib.sha256(f"{self.sha256} without {list(rows)}".encode()).hexdigest()
        return Stored(pyarrow.concat_tables(pieces), sha256, self._memory)

    def touched(self, cells: int) -> None:
        """Count cells read at random; a large table hands pages back in time to stay below _RESIDENT_BYTES."""
        self._touched += cells
        if self._touched * _CELL_BYTES > _RESIDENT_BYTES < self._size:
            self._touched = 0
            self.release()

    def release(self) -> None:
        """Hand mapped pages back to the system, which keeps them cached as long as it likes; the table stays readable.

        What Arrow has put by for its next computation goes back too.
        """
        pyarrow.default_memory_pool().release_unused()
        if self._memory is not None and sys.platform != "win32":  # Windows has no madvise
            self._memory.madvise(mmap.MADV_DONTNEED)


def converted(source: Path, convert: Callable[[], Iterator[pyarrow.RecordBatch]], unread: dict[int, str] | None = None) -> Stored:
    """The Arrow form of `source`, made by `convert` unless an earlier call has.

    unread    rows that `convert` leaves out -> why, which it writes here; None where it leaves out none

    The key is path, size and time of change; files appear whole or not at all, so that several processes may convert at once.
    Raises OptionError where the cache cannot be written or the disk has no room for it, and whatever `convert` raises.
    """
    key = stat_key(source)
    path = cache_file("tables", f"{key}.arrow" if unread is None else f"{key}-good.arrow")
    beside = path.with_suffix(".json")
    if path.exists() and (unread is None or beside.exists()):
        try:
            stored = Stored.open(path)
            if unread is not None:
                unread.update(json.loads(beside.read_text("utf-8")))
            return stored
        except (pyarrow.ArrowInvalid, ValueError):  # cut short by a crash of the machine: make it again
            pass
    _require_room(source, path.parent)
    write(path, lambda temporary: _write(temporary, convert(), digest(source), source))
    pyarrow.system_memory_pool().release_unused()
    if unread is not None:
        write(beside, lambda temporary: temporary.write_text(json.dumps(list(unread.items())), "utf-8"))
    if stat_key(source) != key:
        path.unlink(missing_ok=True)
        raise DataError(f"{source}: the file changed while it was read", fix="run the command again when it is complete")
    return Stored.open(path)


def cache_file(kind: str, name: str) -> Path:
    """Where the cache keeps `name`; its folder exists.

    Raises OptionError where the folder cannot be made.
    """
    folder = cache_folder() / kind
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder / name


def write(path: Path, fill: Callable[[Path], object]) -> None:
    """Let `fill` write a temporary file beside `path`, then put it in its place at one stroke.

    Raises OptionError where the folder cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    os.close(handle)
    temporary = Path(name)
    try:
        fill(temporary)
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path.parent, error) from None
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, batches: Iterator[pyarrow.RecordBatch], sha256: str, source: Path) -> None:
    try:
        first = next(batches)
        schema = first.schema.with_metadata({"sha256": sha256})
        with progress(f"rows of {source.name} read") as shown, pyarrow.ipc.new_file(str(path), schema) as writer:
            for batch in itertools.chain([first], batches):
                writer.write(batch)
                shown.step(len(batch))
    except StartOver as again:
        _write(path, again.batches, sha256, source)


def _require_room(source: Path, folder: Path) -> None:
    """Raise OptionError where even a table that is half as large as its source, or as large as a packed one, would not fit."""
    size, free = source.stat().st_size, shutil.disk_usage(folder).free
    least = size // 2 if source.suffix in _PLAIN else size
    if least > free:
        raise OptionError(
            f"{source.name} needs at least {least / 1e9:.1f} GB in the cache folder {folder}, and its disk has {free / 1e9:.1f} GB left",
            wanted="room for the rows as they are mapped into memory",
            fix="set the environment variable PENJING_CACHE to a folder on a larger disk, or delete what that folder no longer needs",
        )


def digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stat_key(source: Path) -> str:
    """A name for what a file holds now: of its path, size and time of change."""
    now = source.stat()
    return hashlib.sha256(f"{READER_VERSION}\n{source.resolve()}\n{now.st_size}\n{now.st_mtime_ns}".encode()).hexdigest()[:40]


def _unwritable(folder: Path, error: OSError) -> OptionError:
    return OptionError(
        f"the cache folder {folder} cannot be written ({error.strerror or error})",
        wanted="a folder with room for the tables that are read",
        fix="set the environment variable PENJING_CACHE to such a folder",
    )
