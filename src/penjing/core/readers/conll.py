"""One word a line and a blank line between sentences: CoNLL-U, and plain files whose last column is the tag.

A row is a sentence, whose columns are lists with one value a word.

CoNLL-U    `tokens` and the columns that say something of each word by itself: `lemmas`, `tags` (UPOS), `xpos`, `feats`, `deprel`.
           Lines of multi-word tokens (2-3) and empty nodes (8.1) are passed over: the words of the former have lines of their own.
plain      `tokens`, `column 2` ..., `tags`: parted by tabs where the first line has one, else by spaces. A line is a comment where it
           begins with #, stands before the first word of a sentence, and says "# name = value" or has another number of columns than
           words have; -DOCSTART- is no word either.

Source: Buchholz and Marsi 2006 (CoNLL-X); universaldependencies.org/format.html, version 2; Tjong Kim Sang and De Meulder 2003
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow

from penjing.core.arrow_cache import ROW
from penjing.core.errors import DataError
from penjing.core.readers.source_file import BOM, explain_bytes, unpacked

SUFFIXES = (".conllu", ".conll")
_UNIVERSAL = {"tokens": 1, "lemmas": 2, "tags": 3, "xpos": 4, "feats": 5, "deprel": 7}
_WIDTH = 10  # columns of CoNLL-U
_COMMENT = re.compile(r"# ?\S+ = ")
_NO_WORD = re.compile(r"\d+[-.]\d+")
_BATCH_ROWS = 8192


class _Form(NamedTuple):
    """How the lines of a file are made: what parts columns, how many there are, whether the first numbers the words, names and places."""

    mark: str
    width: int
    numbered: bool
    columns: dict[str, int]


class _Bad(Exception):
    """Why a sentence gives no row."""

    def __init__(self, number: int, problem: str):
        super().__init__(problem)
        self.number = number


def batches(path: Path, name: str, unread: dict[int, str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """The sentences, numbered by the line of their first word.

    unread    where given, sentences that cannot be read are left out and written here: line -> why
    Raises DataError with the line for an uneven number of columns, words that are not numbered 1, 2, 3 ... in CoNLL-U, and no word at all.
    """
    form = _form(path, name)
    kind = pyarrow.list_(pyarrow.string())
    schema = pyarrow.schema({**dict.fromkeys(form.columns, kind), ROW: pyarrow.int64()})
    rows: list[tuple[int, list[list[str]]]] = []
    num_rows = 0
    for first, lines in _sentences(path, name, form):
        try:
            words = _words(lines, form)
        except _Bad as bad:
            if unread is None:
                raise DataError(
                    f"{name}, line {bad.number}: {bad}", wanted="one word a line, a blank line behind each sentence", fix="correct the line"
                ) from None
            unread[first] = f"{bad} (line {bad.number})"
            continue
        if words:
            rows.append((first, words))
            num_rows += 1
        if len(rows) == _BATCH_ROWS:
            yield _batch(rows, form, schema)
            rows = []
    if not num_rows:
        why = f" that can be read: {next(iter(unread.values()))}" if unread else ""
        raise DataError(f"{name}: no sentences{why}", wanted="one word a line, its tag in the last column", fix="correct the file")
    if rows:
        yield _batch(rows, form, schema)


def _batch(rows: list[tuple[int, list[list[str]]]], form: _Form, schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    columns = [[[word[place] for word in words] for _, words in rows] for place in form.columns.values()]
    return pyarrow.record_batch([*columns, [first for first, _ in rows]], schema=schema)


def _form(path: Path, name: str) -> _Form:
    """What the first line tells that is surely a word's."""
    first = next((line for _, line in _lines(path, name) if line.strip() and not line.startswith(("#", "-DOCSTART-"))), "")
    mark = "\t" if "\t" in first else " "
    cells = _cells(first, mark)
    if path.name.removesuffix(".gz").lower().endswith(".conllu") or (len(cells) == _WIDTH and re.fullmatch(r"1|1-\d+", cells[0])):
        return _Form("\t", _WIDTH, True, _UNIVERSAL)
    names = ["tokens", *(f"column {i}" for i in range(2, len(cells))), *(["tags"] if len(cells) > 1 else [])]
    return _Form(mark, len(cells), False, {column: place for place, column in enumerate(names)})


def _sentences(path: Path, name: str, form: _Form) -> Iterator[tuple[int, list[tuple[int, list[str]]]]]:
    """The line of each sentence's first word, and number and cells of all its lines that are no comment."""
    found: list[tuple[int, list[str]]] = []
    for number, line in _lines(path, name):
        cells = _cells(line, form.mark)
        comment = line.startswith("#") and not found and (form.numbered or len(cells) != form.width or bool(_COMMENT.match(line)))
        if line.strip() and not comment and not line.startswith("-DOCSTART-"):
            found.append((number, cells))
        elif found and not comment:
            yield found[0][0], found
            found = []
    if found:
        yield found[0][0], found


def _words(lines: list[tuple[int, list[str]]], form: _Form) -> list[list[str]]:
    """The cells of each word of a sentence."""
    words: list[list[str]] = []
    for number, cells in lines:
        if len(cells) != form.width or not all(cells):
            raise _Bad(number, f"{len([cell for cell in cells if cell])} columns where words have {form.width}")
        if not form.numbered or cells[0] == str(len(words) + 1):
            words.append(cells)
        elif not _NO_WORD.fullmatch(cells[0]):
            raise _Bad(number, f"a word is numbered {cells[0]!r} where {len(words) + 1} should follow; is a blank line missing?")
    return words


def _cells(line: str, mark: str) -> list[str]:
    return line.split("\t") if mark == "\t" else [cell for cell in line.split(" ") if cell]


def _lines(path: Path, name: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line; only \\n ends one, as other line ends of Unicode occur in words."""
    with unpacked(path, name) as file:
        for number, line in enumerate(file, 1):
            content = (line.removeprefix(BOM) if number == 1 else line).rstrip(b"\r\n")
            try:
                text = content.decode()
            except UnicodeDecodeError as error:
                raise explain_bytes(path, name, "line") or DataError(f"{name}, line {number}: {error}") from None
            if "\0" in text and (found := explain_bytes(path, name, "line")):
                raise found
            yield number, text
