"""Ask a model: for rows of a file, for an image or a sound, for text from the command line or standard input."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from penjing.core.contracts import Example, Task
from penjing.core.data import pairs
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import read
from penjing.core.kinds import media_of_file
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.readers import digits, table
from penjing.core.readers.source_file import explain_bytes
from penjing.core.runtime import Runtime


def predict(
    base: ModelDir | str | Path, inputs: str | Sequence[str], *, columns: list[str] | None = None, runtime: Runtime | None = None
) -> list[dict[str, Any]]:
    """The answer to each row of `inputs`: {"input", "value", "score"}, and what a task tells beside it (`Task.details`).

    inputs    an existing file holds rows (an image or a sound is one row), "-" is standard input, anything else is literal text
    columns   names of columns where they differ: ["text=sentence"]

    Raises OptionError for text where the model reads images or sounds, DataError for a row that cannot be read.
    """
    from penjing.engine import backends, batches, load, measure

    runtime = runtime or Runtime()
    base = ModelDir.open(base, runtime)
    load.require_device(runtime)
    task = load.task_for(base)
    given = [inputs] if isinstance(inputs, str) else inputs
    rows = [row for each in given for row in _rows(each, task, pairs(columns or []), runtime)]
    if not rows:
        raise OptionError("nothing to predict", wanted="files, text, or - for standard input", fix="pass one that is not empty")
    encoded = batches.Encoded([row for _, row in rows], task, load.load_processor(base, task), labelled=False)
    answers = measure.answer(backends.open_backend(base, task, runtime), task, encoded, runtime.quiet, "predicting")
    said = zip(rows, answers)
    return [{"input": name, "value": p.value, "score": p.score, **task.details(p.value, row)} for (name, row), p in said]


def _rows(given: str, task: Task, renamed: dict[str, str], runtime: Runtime) -> Iterator[tuple[str, Example]]:
    """(what to call it, row) for each row that one INPUT stands for."""
    path = Path(given)
    there = bool(given) and _exists(path)
    if given == "-":
        yield from ((line, _text(line, task)) for line in _lines(sys.stdin.buffer.read(), "standard input"))
    elif given == digits.NAME or (there and (path.is_dir() or table.suffix(path))):
        examples = task.adapt(read(given).rename(renamed))[0].require(task.input_columns())
        yield from ((examples.place(i), examples[i]) for i in range(len(examples)))
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
        yield from ((line, _text(line, task)) for line in _lines(path.read_bytes(), given))
    elif given.strip():
        if task.media == "text" and len(given.split()) == 1 and ("/" in given or path.suffix):
            say(f"{given} is no file here, so it is read as text", runtime.quiet)
        yield given, _text(given, task)


def _exists(path: Path) -> bool:
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


def _text(text: str, task: Task) -> Example:
    if task.media != "text":
        raise OptionError(f"no file {text!r}, and this model reads {task.media}s", wanted="the path of a file", fix="correct the path")
    return task.row_of(text)
