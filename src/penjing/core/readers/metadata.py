"""A table `metadata.csv` whose rows name image or sound files: in its folder, in folders below, or in archives beside it.

The layout of the Hugging Face hub's image and audio folders, whose column is `file_name`; any other column that holds the names will do.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pyarrow

from penjing.core import archives, kinds
from penjing.core.archives import Member
from penjing.core.arrow_cache import Stored
from penjing.core.errors import DataError, nearest
from penjing.core.media import Media
from penjing.core.readers import links, media_folder, table
from penjing.core.readers.fingerprint import of_files
from penjing.core.readers.part import SPLITS, Part

FILE_NAME, SPLIT = "file_name", "split"


def described(folder: Path) -> bool:
    """Whether a table called metadata lies in the folder and names images or sounds."""
    return _found(folder) is not None


def part(folder: Path, name: str, split: str | None = None, skip_bad: bool = False) -> Part:
    """The rows; the column of file names becomes `image` or `audio`.

    skip_bad    as `table.part` has it; rows whose file is not there are left out too

    Raises DataError with the row whose file is not there, or is not the only one of its name; a name never leads out of the folder.
    """
    path, column, media = _found(folder)  # type: ignore[misc]  # the caller has asked `described`
    links.check(folder, path)
    whole = table.part(path, f"{name}/{path.name}", split, skip_bad)
    files, unclear = _located(whole, column, folder)
    if unclear and not skip_bad:
        raise next(iter(unclear.values()))
    if unclear:
        whole = replace(whole.without(list(unclear)), unread=(*whole.unread, *(error.problem for error in unclear.values())))
    used = {path, *(place.archive if isinstance(place, Member) else place for place in files.values())}
    stored = whole.stored.table
    renamed = stored.rename_columns([media.column if stored_name == column else stored_name for stored_name in stored.column_names])
    return replace(whole, stored=Stored(renamed, of_files(sorted(used), folder)), source=files.__getitem__, folder=None)


def by_split(whole: Part) -> list[Part]:
    """A part for each official split that the column `split` names, in their order; the whole where it names none.

    Raises DataError with the first row of another value where some are official.
    """
    rows = whole.stored.table
    values = rows[SPLIT].to_pylist() if SPLIT in rows.column_names else []
    splits = [SPLITS.get(str(value)) for value in values]
    if not any(splits):
        return [whole]
    if None in splits:
        row = splits.index(None)
        raise DataError(
            f"{whole.place(row)}: {SPLIT} {values[row]!r} is no official split, as other rows have one",
            wanted=nearest(str(values[row]), SPLITS),
            fix="correct the row, or give the column another name",
        )
    there = [split for split in dict.fromkeys(SPLITS.values()) if split in splits]
    first, *others = (_chosen(whole, split, numpy.flatnonzero([s == split for s in splits])) for split in there)
    return [first, *(replace(part, notes=(), unread=()) for part in others)]  # what is said of the whole is said once


def _found(folder: Path) -> tuple[Path, str, type[Media]] | None:
    """The table, its column of file names, and what the files are.

    The column is `file_name`, else the first of text whose first value ends as the name of an image or a sound does.
    """
    path = next((child for child in sorted(folder.iterdir()) if table.suffix(child) and table.stem(child) == "metadata"), None)
    there = table.part(path, path.name, skip_bad=True).stored.table if path else pyarrow.table({})
    for column in sorted(there.column_names, key=lambda name: name != FILE_NAME):
        first = there[column][0].as_py() if kinds.is_text(there[column].type) else None
        if path and first and (media := kinds.media_of_file(first)):
            return path, column, media
    return None


def _located(whole: Part, column: str, folder: Path) -> tuple[dict[str, Path | Member], dict[int, DataError]]:
    """Where each named file lies, and what is wrong with the rows whose file is not clear.

    A name may leave out the folders above it where that is clear.
    """
    values = whole.stored.table[column].to_pylist()
    found: dict[str, list[tuple[str, Path | Member]]] = defaultdict(list)
    wanted = {value for value in values if value}
    for path, source in _files(folder):
        steps = path.split("/")
        for ending in {"/".join(steps[start:]) for start in range(len(steps))} & wanted:
            found[ending].append((path, source))
    for value in wanted:
        found[value] = [(path, source) for path, source in found[value] if path == value] or found[value]
    unclear = {
        row: _unclear(whole.place(row), column, value, [path for path, _ in found[value]])
        for row, value in enumerate(values)
        if value and len(found[value]) != 1
    }
    return {value: places[0][1] for value, places in found.items() if len(places) == 1}, unclear


def _files(folder: Path) -> Iterator[tuple[str, Path | Member]]:
    """Every image and sound: its path below the folder, an archive counting as a folder of its own name, and where it lies."""
    for name in media_folder.files(folder):
        yield name, folder / name
    for child in sorted(folder.iterdir()):
        if archives.is_archive(child):
            links.check(folder, child)
            yield from ((f"{table.stem(child)}/{name}", Member(child, name)) for name in media_folder.files(child))


def _unclear(place: str, column: str, value: str, there: list[str]) -> DataError:
    problem = f"is {len(there)} files: {', '.join(sorted(there)[:3])}" if there else "is no file in this folder or in an archive in it"
    return DataError(
        f"{place}: {column} {value!r} {problem}",
        wanted="the path of one image or sound below the folder of the table",
        fix="write more of the path" if there else "correct the row, or put the file in its place",
    )


def _chosen(whole: Part, split: str, rows: numpy.ndarray) -> Part:
    sha256 = hashlib.sha256(f"{whole.stored.sha256} {split}".encode()).hexdigest()
    stored = Stored(whole.stored.table.take(pyarrow.array(rows)), sha256)
    return replace(whole.moved(stored, rows), split=split)
