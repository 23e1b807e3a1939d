"""What rows say, as one 64-bit number each: equal for rows that differ in nothing but case, width, punctuation and white space.

Roles, duplicates and leaks are found by these numbers. They are kept in the cache, so images are decoded for them only once.
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

VERSION = 1  # raise it when the same content gets another number
_PIECE_ROWS = 16384
_MARKS = r"[\pP\pZ\p{Cc}\p{Cf}]+"  # punctuation, white space, control and format characters; not symbols: C++ is not C
_BETWEEN_COLUMNS = b"\x1f"


def content(examples: Examples, columns: Iterable[str]) -> numpy.ndarray:
    """(rows,) uint64 hashes of the rows' `columns`, whatever the order of the columns and the name of the file.

    Text that holds a letter is compared as NFKC, case-folded, without punctuation and white space; other text (-1, :-) ) as it is but for
    white space around it; images by their decoded pixels, lists of words as their words, all else as JSON. Different rows share a number
    once in 2^64.
    Raises DataError for a missing column or an image that cannot be decoded.
    """
    whole, names = replace(examples, chosen=None), sorted(columns)
    kept = cache_file("content", _key(whole, names) + ".npy")
    if kept.exists():
        hashes = numpy.load(kept)
    else:
        hashes = numpy.frombuffer(b"".join(_digests(whole, names)), "<u8").astype(numpy.uint64)
        write(kept, lambda temporary: _save(temporary, hashes))
    return hashes if examples.chosen is None else hashes[examples.chosen]


def normalised(text: pyarrow.Array) -> pyarrow.Array:
    """Text in the form in which near duplicates are equal; null becomes empty."""
    folded = [unicodedata.normalize("NFKC", value).casefold() if value else "" for value in text.to_pylist()]
    exact = compute.utf8_trim_whitespace(pyarrow.array(folded, pyarrow.string()))
    bare = compute.replace_substring_regex(exact, _MARKS, "")
    return compute.if_else(compute.match_substring_regex(exact, r"\pL"), bare, exact)


def _digests(whole: Examples, names: list[str]) -> Iterator[bytes]:
    tables = {name: whole.arrow(name) for name in names}
    for start in range(0, len(whole), _PIECE_ROWS):
        rows = range(start, min(start + _PIECE_ROWS, len(whole)))
        said = [
            _images(whole, name, rows) if whole.is_image(name) else _values(data.slice(start, len(rows)).combine_chunks())
            for name, data in tables.items()
        ]
        for cells in zip(*said):
            yield hashlib.blake2b(_BETWEEN_COLUMNS.join(cells), digest_size=8).digest()
        whole.release()


def _images(whole: Examples, name: str, rows: range) -> Iterator[bytes]:
    images = (whole[i][name] for i in rows)
    return (image.key() if image is not None else b"" for image in images)


def _values(data: pyarrow.Array) -> Iterator[bytes]:
    kind = data.type
    if pyarrow.types.is_list(kind) and is_text(kind.value_type):
        data = compute.binary_join(data, " ")
    if is_text(data.type):
        return (value.encode() for value in normalised(data).to_pylist())
    plain = data.to_pylist()
    if pyarrow.types.is_nested(kind):
        return (json.dumps(value, sort_keys=True, ensure_ascii=False, default=str).encode() for value in plain)
    return (b"" if value is None else words_of(value).encode() for value in plain)


def _key(whole: Examples, names: list[str]) -> str:
    stored = [(name, whole.renamed.get(name, name), whole.is_image(name)) for name in names]
    sources = [part.stored.sha256 for part in whole.parts]
    return hashlib.sha256(json.dumps([VERSION, sources, stored]).encode()).hexdigest()[:40]


def _save(path: Path, hashes: numpy.ndarray) -> None:
    with path.open("wb") as file:
        numpy.save(file, hashes)
