"""What a model is asked about: rows of a file, an image or a sound, text from the command line or standard input."""

import sys
from collections.abc import Iterator
from pathlib import Path

from penjing.core.contracts import Example, Task
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import CARRIED, read
from penjing.core.kinds import media_of_file
from penjing.core.progress import say
from penjing.core.readers import plain_text, table
from penjing.core.readers.source_file import explain_bytes
from penjing.core.runtime import Runtime

Named = tuple[str, Example]
"""What a row is called, and the row."""


def rows_of(given: str, task: Task, renamed: dict[str, str], runtime: Runtime) -> Iterator[Named]:
    """(what to call it, row) for each row that one INPUT stands for."""
    path = Path(given)
    there = bool(given) and exists(path)
    if given == "-":
        yield from (_typed(line, task) for line in _lines(sys.stdin.buffer.read(), "standard input"))
    elif given in [carried.NAME for carried in CARRIED] or (there and (path.is_dir() or _is_table(path))):
        examples = task.adapt(read(given).rename(renamed))[0].require(task.input_columns())
        yield from ((examples.place(i), task.asked(examples[i])) for i in range(len(examples)))
    elif there and (found := media_of_file(given)):
        if task.media != found.noun:
            raise DataError(
                f"{given} is {found.article} {found.noun}, and this model reads {task.media}",
                wanted=task.media,
                fix="pass what it was trained on",
            )
        yield given, {next(iter(task.input_columns())): found(path, given)}
    elif there:
        if error := explain_bytes(path, given, "line"):
            raise error
        yield from (_typed(line, task) for line in _lines(path.read_bytes(), given))
    elif given.strip():
        if task.media == "text" and len(given.split()) == 1 and ("/" in given or path.suffix):
            say(f"{given} is no file here, so it is read as text", runtime.quiet)
        yield _typed(given, task)


def _is_table(path: Path) -> bool:
    """Whether it holds rows; each line of a plain text is one by itself here."""
    return table.suffix(path) not in (None, *plain_text.SUFFIXES)


def exists(path: Path) -> bool:
    """Whether there is such a file or folder."""
    try:
        return path.exists()
    except OSError:  # a text longer than a file name may be
        return False


def _lines(content: bytes, name: str) -> Iterator[str]:
    for number, line in enumerate(content.splitlines(), 1):
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            place = f"{name}, line {number}, byte {error.start}"
            raise DataError(f"{place}: not UTF-8", wanted="text in UTF-8", fix="convert it: iconv -f <encoding> -t utf-8") from None
        if text:
            yield text


def _typed(text: str, task: Task) -> Named:
    """The row that a typed text stands for, called by it; a row of several columns by the first of them."""
    if task.media != "text":
        raise OptionError(f"no file {text!r}, and this model reads {task.media}s", wanted="the path of a file", fix="correct the path")
    row, columns = task.row_of(text), [*task.input_columns()]
    return text if len(columns) == 1 else row[columns[0]], row
