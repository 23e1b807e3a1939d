"""What rows say, as one 64-bit number each: equal for rows that differ in nothing but case, width, punctuation and white space.

Roles, duplicates and leaks are found by these numbers. They are kept in the cache, so images and sounds are decoded for them only once.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy
import pyarrow
import pyarrow.compute as compute

from penjing.core.arrow_cache import cache_file, write
from penjing.core.examples import Examples
from penjing.core.kinds import is_text, words_of
from penjing.core.progress import track

VERSION = 1  # raise it when the same content gets another number
_PIECE_ROWS = 16384
_MARKS = r"[\pP\pZ\p{Cc}\p{Cf}]+"  # punctuation, white space, control and format characters; not symbols: C++ is not C
_ASCII_MARKS = bytes(i for i in range(128) if unicodedata.category(chr(i)) in {"Pc", "Pd", "Ps", "Pe", "Po", "Zs", "Cc"})  # as above
_BETWEEN_COLUMNS = b"\x1f"


def content(examples: Examples, columns: Iterable[str]) -> numpy.ndarray:
    """(rows,) uint64 hashes of the rows' `columns`, whatever the order of the columns and the name of the file.

    Text that holds a letter is compared as NFKC, case-folded, without punctuation and white space; other text (-1, :-) ) as it is but for
    white space around it; images by their decoded pixels, sounds by their samples, lists of words as their words, all else as JSON.
    Different rows share a number once in 2^64.
    Raises DataError for a missing column, and for an image or a sound that cannot be decoded.
    """
    whole, names = replace(examples, chosen=None), sorted(columns)
    kept = cache_file("content", _key(whole, names) + ".npy")
    if kept.exists():
        hashes = numpy.load(kept)
    else:
        digests = track(_digests(whole, names), "rows compared with each other", len(whole))
        hashes = numpy.fromiter((int.from_bytes(digest, "little") for digest in digests), numpy.uint64, len(whole))
        write(kept, lambda temporary: _save(temporary, hashes))
    return hashes if examples.chosen is None else hashes[examples.chosen]


def normalised(text: pyarrow.Array) -> list[bytes]:
    """Text in the form in which near duplicates are equal, as UTF-8; null becomes empty.

    Bytes, because most of the work is then deleting ASCII marks at 1 GB/s; Arrow's expressions delete at 50 MB/s and find at 3 GB/s.
    """
    folded = [_folded(value) for value in text.cast(pyarrow.binary()).to_pylist()]
    no_ascii_marks = pyarrow.array([value.translate(None, _ASCII_MARKS) for value in folded], pyarrow.binary()).cast(pyarrow.string())
    bare = compute.replace_substring_regex(no_ascii_marks, _MARKS, "")
    kept = bare.cast(pyarrow.binary()).to_pylist()
    for i in numpy.flatnonzero(~compute.match_substring_regex(bare, r"\pL").to_numpy(zero_copy_only=False)):
        kept[i] = folded[i].decode().strip().encode()
    return kept


def _folded(value: bytes | None) -> bytes:
    """NFKC, then case-folded; both leave ASCII but for capitals as it is."""
    if not value or value.isascii():
        return (value or b"").lower()
    return unicodedata.normalize("NFKC", value.decode()).casefold().encode()


def _digests(whole: Examples, names: list[str]) -> Iterator[bytes]:
    start = 0
    for piece in pyarrow.table([whole.arrow(name) for name in names], names).to_batches(_PIECE_ROWS):
        rows = range(start, start := start + len(piece))
        said = [_media(whole, name, rows) if whole.is_media(name) else _values(piece[name]) for name in names]
        for cells in zip(*said):
            yield hashlib.blake2b(_BETWEEN_COLUMNS.join(cells), digest_size=8).digest()
        whole.release()


def _media(whole: Examples, name: str, rows: range) -> Iterator[bytes]:
    found = (whole[i][name] for i in rows)
    return (media.key() if media is not None else b"" for media in found)


def _values(data: pyarrow.Array) -> Iterator[bytes]:
    kind = data.type
    if pyarrow.types.is_list(kind) and is_text(kind.value_type):
        data = compute.binary_join(data, " ")
    if is_text(data.type):
        return iter(normalised(data))
    plain = data.to_pylist()
    if pyarrow.types.is_nested(kind):
        return (json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode() for value in plain)
    return (b"" if value is None else words_of(value).encode() for value in plain)


def _key(whole: Examples, names: list[str]) -> str:
    stored = [(name, whole.renamed.get(name, name), whole.is_media(name)) for name in names]
    sources = [part.stored.sha256 for part in whole.parts]
    return hashlib.sha256(json.dumps([VERSION, sources, stored]).encode()).hexdigest()[:40]


def _save(path: Path, hashes: numpy.ndarray) -> None:
    with path.open("wb") as file:
        numpy.save(file, hashes)
