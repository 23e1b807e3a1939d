"""Rows of data from tables, folders of images or sounds and scikit-learn's digits: opened without being loaded, and told apart by place.

A table is converted once to an Arrow file and mapped into memory (core/arrow_cache.py); columns and rows are then chosen by views
that copy nothing. Whatever cannot be used is an error that names file, row and column.
"""

import bisect
import hashlib
import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy
import pyarrow
import pyarrow.compute as compute

from penjing.core import kinds, require
from penjing.core.arrow_cache import ROW
from penjing.core.contracts import Example
from penjing.core.errors import DataError, nearest
from penjing.core.media import Media
from penjing.core.readers import digits, folder, python_docs, table
from penjing.core.readers.part import Part

CARRIED = (digits, python_docs)  # readers of data that come with Python or a library of it


def spread(num_rows: int, most: int) -> numpy.ndarray:
    """(min(num_rows, most),) int64 row numbers, evenly spread, since files are often sorted by label."""
    return numpy.arange(num_rows) if num_rows <= most else numpy.linspace(0, num_rows - 1, most).astype(int)


def read(source: str | Path, split: str | None = None, skip_bad: bool = False) -> "Examples":
    """Open data.

    source    a .csv, .tsv, .jsonl, .parquet, .conllu, .conll or .txt file (also .gz); a folder that holds one a split (train, validation,
              test), or images or sounds in a folder a class (also train.zip, train.tar.gz ...), or metadata.csv beside such files; or
              "sklearn:digits" or "python:docs"
    split     one split of a folder, or another file in it by its name without suffix; None for all official splits
    skip_bad  leave out rows that no reader can make sense of; `unread` says which
    Raises DataError for a path that is not there, a folder without rows, and whatever a reader cannot read, with its row.
    """
    text, path = str(source), Path(source)
    for carried in CARRIED:
        if text == carried.NAME and split is None:
            return Examples(text, (carried.part(),), licence=carried.LICENCE)
    if path.is_dir():
        parts, notes = folder.parts(path, split, skip_bad)
        name = path.resolve().name + (f" ({parts[0].split})" if split else "")
        every_note = (*notes, *(note for part in parts for note in part.notes))
        return Examples(name, tuple(parts), licence=folder.licence(path), notes=every_note)
    if not path.exists():
        raise _no_such(text, path)
    if split is not None:
        raise DataError(f"{path.name} is one file, it has no split {split!r}", fix="leave the split out, or name the folder")
    if not table.suffix(path) or not path.is_file():
        raise DataError(f"{path.name}: not a file of rows", wanted=f"{', '.join(table.SUFFIXES)}, also .gz, or a folder")
    part = table.part(path, path.name, skip_bad=skip_bad)
    return Examples(path.name, (part,), notes=part.notes)


def _no_such(text: str, path: Path) -> DataError:
    scheme, colon, _ = text.partition(":")
    if colon and scheme == "hf":
        return DataError(
            f"{text}: data are not fetched from the hub", wanted="a file or a folder", fix="download its files and name their folder"
        )
    names = [carried.NAME for carried in CARRIED]
    if colon and scheme in [name.split(":")[0] for name in names]:
        return DataError(f"no data called {text!r}", wanted=nearest(text, names), fix="correct the name")
    there = path.parent
    while not there.is_dir():
        path, there = there, there.parent
    known = [child.name for child in sorted(there.iterdir()) if child.is_dir() or table.suffix(child)]
    close = nearest(path.name, known)
    return DataError(
        f"no file or folder {text!r}", wanted=f"in {there.resolve()}: {close}" if close else "a file or a folder", fix="correct the path"
    )


class _Column(NamedTuple):
    """A column of one part: its name in the view, its cells, how a cell becomes a value, or which media it stands for."""

    name: str
    data: pyarrow.ChunkedArray
    convert: Callable[[Any], Any]
    media: type[Media] | None = None


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """Rows of one or several splits, as dicts; images and sounds are `Media`, decoded when asked.

    name      the source as a report calls it
    parts     the files behind it, in the order of their rows
    licence   what the folder says of it, None where it says nothing
    notes     what was passed over: files that are no split, blank rows
    chosen    (rows,) which rows of the parts this view shows; None for all
    renamed   name of a column in this view -> its name in the files
    kinds     columns that `require` has checked -> the type of their values
    shown     the columns that this view has; None for all
    grouped   a column whose equal values make a group: the rows of a speaker, of a document; None where every row is on its own
    """

    name: str
    parts: tuple[Part, ...]
    licence: str | None = None
    notes: tuple[str, ...] = ()
    chosen: numpy.ndarray | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, type] = field(default_factory=dict)
    grouped: str | None = None
    shown: frozenset[str] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the sources' content, the same for every view; for several files, of their sorted names and hashes."""
        if len(self.parts) == 1:
            return self.parts[0].stored.sha256
        seen = sorted(f"{part.name.split('/')[-1]}\n{part.stored.sha256}" for part in self.parts)
        return hashlib.sha256("\n".join(seen).encode()).hexdigest()

    @property
    def columns(self) -> list[str]:
        """Names of the columns, as the first file has them."""
        return [column.name for column in self._columns[0]]

    def __len__(self) -> int:
        return int(self._starts[-1]) if self.chosen is None else len(self.chosen)

    @overload
    def __getitem__(self, i: int) -> Example: ...
    @overload
    def __getitem__(self, i: slice) -> "Examples": ...
    def __getitem__(self, i: int | slice) -> "Example | Examples":
        if isinstance(i, slice):
            return self.take(range(*i.indices(len(self))))
        number, row = self._locate(i)
        part = self.parts[number]
        part.stored.touched(len(self._columns[number]))
        example: Example = {}
        for name, data, convert, media in self._columns[number]:
            value = data[row].as_py()
            if value is not None:
                value = media(part.source(value), part.place(row)) if media else convert(value)
            example[name] = value
        return example

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: Sequence[int] | numpy.ndarray) -> "Examples":
        """A view of these rows, in this order; nothing is copied.

        Raises IndexError for a row that is not there.
        """
        rows = numpy.asarray(indices, dtype=numpy.int64).reshape(-1)
        if len(rows) and not (-len(self) <= rows.min() and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)}")
        rows = numpy.where(rows < 0, rows + len(self), rows)
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def column(self, name: str) -> list[Any]:
        """The values of one column, without reading the others; images and sounds stay as stored, bytes or paths."""
        values = self.arrow(name).to_pylist()
        convert = next((kinds.KINDS[kind].convert for kind in (self.kinds.get(name),) if kind in (int, float, set, list)), None)
        return [None if value is None else convert(value) for value in values] if convert else values

    def groups(self) -> list[str] | None:
        """The group of each row; None where every row is on its own."""
        return self.column(self.grouped) if self.grouped else None

    @property
    def units(self) -> int:
        """How many rows, or groups of rows, are drawn independently."""
        return len(set(self.column(self.grouped))) if self.grouped else len(self)

    def arrow(self, name: str) -> pyarrow.ChunkedArray:
        """One column as it is mapped into memory; numbers as text where `require` asked for text.

        Raises DataError where a file lacks it or holds another type than the first.
        """
        chunks: list[pyarrow.Array] = []
        for part, there in zip(self.parts, self._columns):
            data = next((column.data for column in there if column.name == name), None)
            if data is None:
                raise require.missing(part.name, name, [column.name for column in there])
            as_text = self.kinds.get(name) is str and not kinds.is_text(data.type)
            chunks += (data.cast(pyarrow.string()) if as_text else data).chunks
        types = sorted({str(chunk.type) for chunk in chunks})
        if len(types) > 1:
            raise DataError(f"{self.name}: column {name!r} holds {' and '.join(types)}", wanted="one type in all files")
        whole = pyarrow.chunked_array(chunks)
        return whole if self.chosen is None else whole.take(pyarrow.array(self.chosen))

    def sizes(self, names: Iterable[str]) -> numpy.ndarray:
        """(rows,) int64 bytes of the text, or the words, in some columns of each row, without reading them; nothing else is counted."""
        whole = replace(self, chosen=None)
        found = numpy.zeros(len(whole), numpy.int64)
        for data in (whole.arrow(name) for name in names):
            if kinds.is_list(data.type) and kinds.is_text(data.type.value_type):
                data = compute.binary_join(data, " ")
            if kinds.is_text(data.type):
                found += compute.fill_null(compute.binary_length(data), 0).to_numpy()
        return found if self.chosen is None else found[self.chosen]

    def counted(self, name: str) -> list[tuple[Any, int]]:
        """The different values of a column and how often each is there; of a column of lists, a list for each different member."""
        data, kind = self.arrow(name), self.kinds.get(name)
        if kinds.is_list(data.type):
            data = pyarrow.chunked_array([compute.list_flatten(chunk) for chunk in data.chunks], data.type.value_type)
        found = ((pair["values"], pair["counts"]) for pair in data.value_counts().to_pylist() if pair["values"] is not None)
        convert = kinds.KINDS[kind].convert if kind else _as_it_is
        return [(convert([value] if kind in (set, list) else value), count) for value, count in found]

    def only(self, names: Iterable[str]) -> "Examples":
        """A view of these columns alone, whose rows are read without touching the others."""
        return replace(self, shown=frozenset(names))

    def types(self, name: str) -> list[pyarrow.DataType]:
        """The different types that a column has in the files; none where it is in no file."""
        return [*dict.fromkeys(column.data.type for there in self._columns for column in there if column.name == name)]

    def with_column(self, name: str, values: Sequence[Any], kind: type, source: str | None = None) -> "Examples":
        """All rows of the files with one column more, which is held in memory; a column of theirs that has this name is hidden.

        source    what it was made of, by whose name it is kept: others may be made of the same file
        """
        if source not in (None, name):
            kept = f"{name} of {self.renamed.get(source, source)}"
            return self.with_column(kept, values, kind).rename({kept: name})
        held, places = pyarrow.array(values), itertools.pairwise(self._starts.tolist())
        wider = [replace(part, stored=part.stored.with_column(name, held[start:end])) for part, (start, end) in zip(self.parts, places)]
        renamed = {new: stored for new, stored in self.renamed.items() if new != name}
        return replace(self, parts=tuple(wider), chosen=None, renamed=renamed, kinds={**self.kinds, name: kind})

    def holding(self, column: str, values: Sequence[Any], kind: type) -> "Examples":
        """These rows with `values` in a column, which are held in memory; all other columns are read where they lie."""
        whole: list[Any] = [None] * int(self._starts[-1])
        for row, value in zip(range(len(self)) if self.chosen is None else self.chosen.tolist(), values):
            whole[row] = value
        return replace(self.with_column(column, whole, kind), chosen=self.chosen)

    def followed_by(self, others: "Examples", column: str, values: Sequence[Any]) -> "Examples":
        """These rows and then `others`, whose `column` shall hold `values`; all other columns are read where they lie.

        others   theirs of that name is hidden; a column that is called otherwise in their files is held in memory
        """
        kind = self.kinds[column]
        first, second = self.holding(column, self.column(column), kind), others.holding(column, values, kind)
        for ours in {*first.renamed, *second.renamed} & {*first.columns} & {*second.columns}:
            if (stored := first.renamed.get(ours, ours)) != second.renamed.get(ours, ours):
                second = second.holding(stored, second.column(ours), self.kinds[ours])
        numbers = [numpy.arange(len(rows)) if rows.chosen is None else rows.chosen for rows in (self, others)]
        chosen = numpy.concatenate([numbers[0], numbers[1] + self._starts[-1]])
        return replace(first, parts=first.parts + second.parts, chosen=chosen)

    @property
    def unread(self) -> list[str]:
        """Rows that the readers left out: place and reason, a sentence each."""
        return [said for part in self.parts for said in part.unread]

    def unusable(self, columns: Mapping[str, type]) -> dict[int, str]:
        """Rows that `require` would refuse -> place and reason; those of an image or a sound that cannot be decoded too.

        Decodes every image and sound. Raises DataError for a column that is missing or of another type.
        """
        found: dict[int, str] = {}
        for number, part in enumerate(self.parts):
            there, start = {column.name: column.data for column in self._columns[number]}, int(self._starts[number])
            for name, kind in columns.items():
                if name not in there:
                    raise require.missing(part.name, name, list(there))
                said = require.unusable(part, name, there[name], kind, self._rows_of(number))
                for row, problem in said.items():
                    found.setdefault(start + row, problem)
        typed = replace(self, kinds={**self.kinds, **columns})
        for name in filter(typed.is_media, columns):
            for row, example in ((row, typed.only([name])[row]) for row in range(len(self)) if row not in found):
                try:
                    example[name].key()
                except DataError as error:
                    found[row] = error.problem
        return dict(sorted(found.items()))

    def without(self, rows: Collection[int]) -> "Examples":
        """All rows of the files but these, as if the files did not hold them; nothing is copied."""
        parts = []
        for part, (start, end) in zip(self.parts, itertools.pairwise(self._starts.tolist())):
            gone = sorted(row - start for row in rows if start <= row < end)
            parts.append(part.without(gone) if gone else part)
        return replace(self, parts=tuple(part for part in parts if len(part.stored.table)))

    def is_media(self, name: str) -> bool:
        """Whether the values of a column are `Media`."""
        return any(column.name == name and column.media is not None for part in self._columns for column in part)

    def release(self) -> None:
        """After reading a column from end to end: hand its pages back to the system; all rows stay readable."""
        for part in self.parts:
            part.stored.release()

    def place(self, i: int) -> str:
        """Where a reader finds row i: "reviews.csv, row 1043"; row 1 of a csv is its header."""
        number, row = self._locate(i)
        return self.parts[number].place(row)

    def part_of_rows(self) -> numpy.ndarray:
        """(rows,) int64 place in `parts` of every row."""
        rows = numpy.arange(len(self)) if self.chosen is None else self.chosen
        return numpy.searchsorted(self._starts, rows, side="right") - 1

    def rename(self, names: Mapping[str, str]) -> "Examples":
        """A view whose columns are called otherwise: {"sentence": "text"}. A column that already has the new name is hidden.

        Raises DataError for a column that is not there.
        """
        for old in names:
            if old not in self.columns:
                raise DataError(f"{self.name}: no column {old!r}", wanted=nearest(old, self.columns))
        kept = {new: stored for new, stored in self.renamed.items() if new not in names}
        hidden = [new for new in names.values() if new in self.columns and new not in names]
        notes = tuple(f"{self.name}: its own column {new!r} is hidden by another that was renamed so" for new in hidden)
        renamed = {**kept, **{new: self.renamed.get(old, old) for old, new in names.items()}}
        kinds = {names.get(name, name): kind for name, kind in self.kinds.items() if name not in hidden}
        return replace(self, renamed=renamed, kinds=kinds, notes=self.notes + notes)

    def require(self, columns: Mapping[str, type]) -> "Examples":
        """The same rows, sure to hold these columns: str, int, float, list, Image or Sound, no value missing or empty.

        Numbers become text where text is wanted, and text numbers where numbers are. All rows are looked at, once, batch by batch.
        Raises DataError with file, column and the first row that will not do.
        """
        checked = replace(self, kinds={**self.kinds, **columns})
        for number, part in enumerate(self.parts):
            rows = self._rows_of(number)
            there = {column.name: column.data for column in checked._columns[number]}
            for name, kind in columns.items():
                if name in there:
                    require.check(part, name, there[name], kind, rows)
                elif rows.any():
                    raise require.missing(part.name, name, list(there))
        return checked

    @cached_property
    def _columns(self) -> tuple[list[_Column], ...]:
        return tuple([*self._columns_of(part)] for part in self.parts)

    def _columns_of(self, part: Part) -> Iterator[_Column]:
        new_names = {stored: name for name, stored in self.renamed.items()}
        for stored in part.stored.table.column_names:
            if stored == ROW or (stored in self.renamed and stored not in new_names):
                continue
            name, data = new_names.get(stored, stored), part.stored.table[stored]
            if self.shown is not None and name not in self.shown:
                continue
            kind = self.kinds.get(name)
            convert = kinds.KINDS[kind].convert if kind else _as_it_is
            yield _Column(name, data, convert, kinds.media_in(name, data.type, kind))

    @cached_property
    def _starts(self) -> numpy.ndarray:
        """(parts + 1,) how many rows lie in the parts before each, and in all."""
        return numpy.cumsum([0, *(len(part.stored.table) for part in self.parts)])

    def _locate(self, i: int) -> tuple[int, int]:
        """Part and row in it."""
        i = operator.index(i)
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        i = i % len(self)
        whole = i if self.chosen is None else int(self.chosen[i])
        number = bisect.bisect_right(self._starts, whole) - 1
        return number, whole - int(self._starts[number])

    def _rows_of(self, number: int) -> numpy.ndarray:
        """(rows of the part,) bool, which of them this view shows."""
        start, end = self._starts[number : number + 2].tolist()
        if self.chosen is None:
            return numpy.ones(end - start, bool)
        shown = numpy.zeros(end - start, bool)
        shown[self.chosen[(self.chosen >= start) & (self.chosen < end)] - start] = True
        return shown


def _as_it_is(value: Any) -> Any:
    return value
