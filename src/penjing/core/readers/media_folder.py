"""Images or sounds in a folder a class, in a directory or in an archive; read where they lie."""

import functools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pyarrow

from penjing.core import archives, kinds
from penjing.core.archives import Member
from penjing.core.arrow_cache import Stored
from penjing.core.errors import DataError
from penjing.core.media import Media, in_cell
from penjing.core.readers import links
from penjing.core.readers.fingerprint import of_files
from penjing.core.readers.part import Part


def part(path: Path, name: str, split: str | None = None) -> Part:
    """Columns image or audio, and label, the name of the folder that a file lies in; in the order of their names.

    Where both images and sounds lie there, the more frequent are the rows.
    Raises DataError for a file without a class folder, or deeper than one, and for a damaged archive.
    """
    media, found = _frequent(sorted(files(path, path.parent if split else path)))
    top = found[0].split("/")[0]
    below = path.is_file() and all(file.count("/") == 2 and file.startswith(f"{top}/") for file in found)  # train.zip/train/cat/1.png
    labels = [_label(file, name, 1 if below else 0, media.noun) for file in found]
    table = pyarrow.table({media.column: pyarrow.array(found, pyarrow.string()), "label": pyarrow.array(labels, pyarrow.string())})
    sha256 = of_files([path] if path.is_file() else [path / file for file in found], path)
    source = functools.partial(Member, path) if path.is_file() else functools.partial(in_cell, path)
    return Part(name, split, Stored(table, sha256), functools.partial(_place, found, name), source)


def files(path: Path, top: Path | None = None) -> Iterator[str]:
    """Names of the images and sounds below `path`, parted by "/"; hidden files and folders are passed over.

    top   the folder that links may not leave; None for `path` itself
    """
    for name in archives.names(path) if path.is_file() else _walk(path, "", top or path, (os.path.realpath(path),)):
        if kinds.media_of_file(name) and not any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts):
            yield name


def _frequent(found: list[str]) -> tuple[type[Media], list[str]]:
    """What most of the files are, and these."""
    media = Counter(kinds.media_of_file(file) for file in found).most_common(1)[0][0]
    assert media is not None
    return media, [file for file in found if kinds.media_of_file(file) is media]


def _label(file: str, name: str, depth: int, noun: str) -> str:
    folders = file.split("/")[depth:-1]
    if len(folders) != 1:
        raise DataError(
            f"{name}/{file}: " + (f"this {noun} is in no class folder" if not folders else f"this {noun} is {len(folders)} folders deep"),
            wanted=f"{name}/<class>/<{noun}>, the folder's name being the label",
            fix=f"move the {noun}s so, or list them in metadata.csv with the columns file_name,label",
        )
    return folders[0]


def _walk(folder: Path, prefix: str, top: Path, above: tuple[str, ...]) -> Iterator[str]:
    """Names of the files below `folder`, behind `prefix`. Links are followed inside `top`.

    above   the real folders that the walk has come through, `folder` last
    Raises DataError for a link that leads out of `top`, into nothing or back to where it came from.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            links.check(top, Path(entry.path), above)
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", top, (*above, os.path.realpath(entry.path)))
            else:
                yield prefix + entry.name


def _place(found: list[str], name: str, row: int) -> str:
    return f"{name}/{found[row]}"
