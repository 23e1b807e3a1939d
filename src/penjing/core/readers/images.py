"""Images in a folder a class, in a directory or in a zip archive; read where they lie."""

import functools
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow

from penjing.core import arrow_cache
from penjing.core.arrow_cache import Stored
from penjing.core.errors import DataError
from penjing.core.media import SUFFIXES, Media, Member, archive
from penjing.core.readers.part import Part


def holds_images(path: Path) -> bool:
    """Whether a folder or zip archive holds at least one image; the first found decides."""
    return next(_images(path), None) is not None


def part(path: Path, name: str, split: str | None = None) -> Part:
    """Columns image and label, the name of the folder that an image lies in; in the order of their names.

    Raises DataError for an image without a class folder, or deeper than one, and for a damaged archive.
    """
    files = sorted(_images(path))
    top = next(iter(files)).split("/")[0]
    below = path.is_file() and all(file.count("/") == 2 and file.startswith(f"{top}/") for file in files)  # train.zip/train/cat/1.png
    labels = [_label(file, name, 1 if below else 0) for file in files]
    table = pyarrow.table({"image": pyarrow.array(files, pyarrow.string()), "label": pyarrow.array(labels, pyarrow.string())})
    media = functools.partial(_member, path) if path.is_file() else functools.partial(Media.of, path)
    return Part(name, split, Stored(table, _sha256(path, files)), functools.partial(_place, table, name), media)


def _label(file: str, name: str, depth: int) -> str:
    folders = file.split("/")[depth:-1]
    if len(folders) != 1:
        raise DataError(
            f"{name}/{file}: " + ("this image is in no class folder" if not folders else f"this image is {len(folders)} folders deep"),
            wanted=f"{name}/<class>/<image>, the folder's name being the label",
            fix="move the images so, or list them in a csv with the columns image,label",
        )
    return folders[0]


def _images(path: Path) -> Iterator[str]:
    """Names of the images below `path`, parted by "/"; hidden files and folders are passed over."""
    names = _members(path) if path.is_file() else _walk(path, "")
    for name in names:
        pure = PurePosixPath(name)
        if pure.suffix.lower() in SUFFIXES and not any(part.startswith((".", "__MACOSX")) for part in pure.parts):
            yield name


def _members(path: Path) -> Iterable[str]:
    try:
        return archive(path).namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a complete zip archive ({error})", fix=f"fetch it again; `unzip -t {path.name}` checks it") from None


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


def _member(path: Path, value: Any, place: str) -> Media:
    return Media(Member(path, value), place)


def _place(table: pyarrow.Table, name: str, row: int) -> str:
    return f"{name}/{table['image'][row].as_py()}"


def _sha256(path: Path, files: list[str]) -> str:
    """Hash of the archive, or of the images' names and contents; kept in the cache under their names, sizes and times of change."""
    if path.is_file():
        seen = [f"{path.resolve()}\n{path.stat().st_size}\n{path.stat().st_mtime_ns}"]
    else:
        stats = ((file, (path / file).stat()) for file in files)
        seen = [str(path.resolve()), *(f"{file}\n{now.st_size}\n{now.st_mtime_ns}" for file, now in stats)]
    known = arrow_cache.cache_file("sha256", hashlib.sha256("\n".join(seen).encode()).hexdigest()[:40])
    if not known.exists():
        contents = "\n".join(f"{file}\n{_digest(path / file)}" for file in files) if path.is_dir() else ""
        sha256 = hashlib.sha256(contents.encode()).hexdigest() if contents else _digest(path)
        arrow_cache.write(known, lambda temporary: _note(temporary, sha256))
    return known.read_text()


def _note(path: Path, text: str) -> None:
    path.write_text(text)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
