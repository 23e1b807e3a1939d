"""What all text formats share: gzip, and finding out why a file is not plain UTF-8."""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penjing.core.archives import gunzipped
from penjing.core.errors import DataError

BOM = codecs.BOM_UTF8
_PIECE_BYTES = 1 << 20
_WIDE = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@contextmanager
def unpacked(path: Path, name: str) -> Iterator[io.BufferedIOBase]:
    """The file's bytes, after gunzip where its name ends in .gz.

    Raises DataError for damaged gzip, an unreadable file, an empty one, and one that grows like a bomb.
    """
    try:
        with gunzipped(path, name, "gunzip it yourself") if path.suffix == ".gz" else path.open("rb") as file:
            if not file.peek(1):
                raise DataError(f"{name}: the file is empty", wanted="a file with rows")
            yield file
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{name}: damaged gzip ({error})", wanted="a complete .gz file", fix=f"fetch it again; `gzip -t {path.name}` checks it"
        ) from None
    except PermissionError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror})", fix=f"chmod u+r {path}") from None


def explain_bytes(path: Path, name: str, unit: str = "row") -> DataError | None:
    """Why the file is not plain UTF-8, with the first offending row and byte; None where it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, rows, quoted = 0, 1, False
    with unpacked(path, name) as file:
        while piece := file.read(_PIECE_BYTES):
            if offset == 0 and piece[:2] in _WIDE:
                return _wrong_encoding(path, name, "byte 0", piece[:2], _WIDE[piece[:2]])
            pending = len(decoder.getstate()[0])
            end = piece.find(b"\0")
            try:
                decoder.decode(piece)
            except UnicodeDecodeError as error:
                start = error.start - pending
                if end < 0 or start < end:
                    place = f"{unit} {rows + _row_ends(piece[: max(start, 0)], quoted)[0]}, byte {offset + start}"
                    return _wrong_encoding(path, name, place, error.object[error.start : error.end], _guess(piece[max(start, 0) :]))
            if end >= 0:
                row = rows + _row_ends(piece[:end], quoted)[0]
                return DataError(
                    f"{name}, {unit} {row}: a NUL byte (byte {offset + end})",
                    wanted="text in UTF-8; NUL bytes come from other encodings or from a damaged file",
                    fix=f"save it again as UTF-8, or remove them: tr -d '\\000' < {path.name} > fixed.{path.name.removesuffix('.gz')}",
                )
            ends, quoted = _row_ends(piece, quoted)
            rows, offset = rows + ends, offset + len(piece)
    return None


def _row_ends(piece: bytes, quoted: bool) -> tuple[int, bool]:
    """How many rows end in `piece`, and whether it ends inside quotes: a line end between quotes belongs to a value."""
    parts = piece.split(b'"')
    return sum(part.count(b"\n") for part in parts[int(quoted) :: 2]), quoted ^ (len(parts) % 2 == 0)


def _guess(piece: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8: in Chinese text high bytes come in pairs, in Western text alone."""
    runs = re.findall(rb"[\x80-\xff]+", piece)
    pairs = sum(len(run) % 2 == 0 for run in runs)
    return "gb18030" if 2 * pairs > len(runs) else "latin1"


def _wrong_encoding(path: Path, name: str, place: str, found: bytes, guess: str) -> DataError:
    plain = path.name.removesuffix(".gz")
    source = f"gunzip -c {path.name} | iconv" if path.suffix == ".gz" else "iconv"
    given = "" if path.suffix == ".gz" else f" {path.name}"
    return DataError(
        f"{name}, {place}: {found!r} is not UTF-8",
        wanted=f"UTF-8; these bytes look like {guess}",
        fix=f"{source} -f {guess} -t utf-8{given} > utf8.{plain}",
    )
