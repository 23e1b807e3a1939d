"""Files inside zip and tar archives, read where they lie: nothing is ever extracted to a path that an archive names.

A .tar.gz cannot be read from the middle, so it is unpacked once to a plain .tar in the cache.
"""

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from penjing.core.arrow_cache import cache_file, stat_key, write
from penjing.core.errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
MOST_MEMBER_BYTES = 1 << 30
MOST_TIMES_SMALLER, ALWAYS_ALLOWED_BYTES = 100, 1 << 28  # a .tar.gz may grow so much: sound does not shrink a hundredfold, bombs do
_PIECE_BYTES = 1 << 20
_BROKEN = (OSError, zipfile.BadZipFile, zlib.error, EOFError, tarfile.TarError)


class Member(NamedTuple):
    """A file inside an archive."""

    archive: Path
    name: str


def is_archive(path: Path) -> bool:
    """Whether a file is an archive, by its name."""
    return path.name.lower().endswith(SUFFIXES) and path.is_file()


def names(path: Path) -> list[str]:
    """The files in an archive; folders, links, devices and names that lead out of it are passed over.

    Raises DataError for a damaged archive.
    """
    try:
        found = list(_tar(_plain(path), os.getpid())) if _is_tar(path) else [i.filename for i in _zip(path, os.getpid()).infolist()]
    except _BROKEN as error:
        raise _incomplete(path, error) from None
    return [name for name in found if stays_inside(name)]


def read(member: Member) -> bytes:
    """The content of a file in an archive.

    Raises OSError where it is not there or cannot be read.
    """
    try:
        if _is_tar(member.archive):
            plain = _plain(member.archive)
            offset, size = _tar(plain, os.getpid())[member.name]
            _check_size(size)
            with plain.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        opened = _zip(member.archive, os.getpid())
        _check_size(opened.getinfo(member.name).file_size)
        return opened.read(member.name)
    except (KeyError, RuntimeError, NotImplementedError, *_BROKEN) as error:  # RuntimeError: zip with a password
        raise OSError(f"{member.name} in {member.archive.name}: {error}") from None


def stays_inside(name: str) -> bool:
    """Whether a relative name leads to no place outside the folder that it is relative to."""
    pure = PurePosixPath(name)
    return bool(pure.name) and not name.endswith("/") and not pure.is_absolute() and ".." not in pure.parts and "\\" not in name


def _is_tar(path: Path) -> bool:
    return not path.name.lower().endswith(".zip")


def _check_size(size: int) -> None:
    if size > MOST_MEMBER_BYTES:
        raise OSError(f"{size:,} bytes, at most {MOST_MEMBER_BYTES:,} are read")


# By process: a fork would share, and move, one file position.
@lru_cache(maxsize=8)
def _zip(path: Path, _process: int) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)


@lru_cache(maxsize=8)
def _tar(path: Path, _process: int) -> dict[str, tuple[int, int]]:
    """Where the bytes of each member lie, offset and size."""
    with tarfile.open(path, "r:") as opened:
        return {entry.name.removeprefix("./"): (entry.offset_data, entry.size) for entry in opened if entry.isreg()}


def _plain(path: Path) -> Path:
    """The archive as a tar that can be read from the middle."""
    if path.name.lower().endswith(".tar"):
        return path
    unpacked = cache_file("archives", f"{stat_key(path)}.tar")
    if not unpacked.exists():
        write(unpacked, lambda temporary: _unpack(path, temporary))
    return unpacked


def _unpack(path: Path, to: Path) -> None:
    with to.open("wb") as plain:
        plain.writelines(_pieces(path))


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with gunzipped(path, str(path), "gunzip it to a .tar yourself") as packed:
            yield from iter(lambda: packed.read(_PIECE_BYTES), b"")
    except (OSError, EOFError, zlib.error) as error:
        raise _incomplete(path, error) from None


def gunzipped(path: Path, name: str, unpacking: str) -> io.BufferedReader:
    """The content of a packed file; DataError where it grows like a bomb.

    name        what the error calls it
    unpacking   what to do with a file that is none
    """
    return io.BufferedReader(_Gunzipped(path, name, unpacking), _PIECE_BYTES)


class _Gunzipped(io.RawIOBase):
    def __init__(self, path: Path, name: str, unpacking: str):
        self._file, self._name, self._unpacking = gzip.GzipFile(path), name, unpacking
        self._most = max(ALWAYS_ALLOWED_BYTES, MOST_TIMES_SMALLER * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._file.read(len(buffer))
        if self._file.tell() > self._most:
            raise DataError(
                f"{self._name}: grows beyond {self._most:,} bytes when it is unpacked",
                wanted=f"at most {MOST_TIMES_SMALLER} times its packed size",
                fix=f"if you trust it, {self._unpacking}",
            )
        buffer[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._file.close()
        super().close()


def _incomplete(path: Path, error: Exception) -> DataError:
    kind, test = ("tar", "tar -tf") if _is_tar(path) else ("zip", "unzip -t")
    return DataError(f"{path}: not a complete {kind} archive ({error})", fix=f"fetch it again; `{test} {path.name}` checks it")
