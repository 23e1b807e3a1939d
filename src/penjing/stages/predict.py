"""Ask a model: for rows of a file, for an image, for text from the command line or standard input."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from penjing.core.contracts import Example, Task
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import read
from penjing.core.media import SUFFIXES as IMAGE_SUFFIXES
from penjing.core.media import Media
from penjing.core.model_dir import ModelDir
from penjing.core.readers import digits, table
from penjing.core.runtime import Runtime


def predict(base: ModelDir, inputs: Sequence[str], *, runtime: Runtime) -> list[dict[str, Any]]:
    """The answer to each row of `inputs`: {"input", "value", "score"}.

    inputs   an existing file holds rows (an image is one row), "-" is standard input, anything else is literal text

    Raises OptionError for text where the model reads images, DataError for a row that cannot be read.
    """
    from penjing.engine import backends, batches, load, measure

    task = load.task_for(base, None)
    rows = [row for given in inputs for row in _rows(given, task)]
    if not rows:
        raise OptionError("nothing to predict", wanted="files, text, or - for standard input")
    encoded = batches.Encoded([row for _, row in rows], task, load.load_processor(base, task), labelled=False)
    answers = measure.answer(backends.open_backend(base, task, runtime), task, encoded, runtime.quiet, "predicting")
    return [{"input": name, "value": p.value, "score": p.score} for (name, _), p in zip(rows, answers.predictions)]


def _rows(given: str, task: Task) -> Iterator[tuple[str, Example]]:
    """(what to call it, row) for each row that one INPUT stands for."""
    column = next(iter(task.input_columns()))
    if given == "-":
        yield from (_text(line.rstrip("\n"), column, task) for line in sys.stdin if line.strip())
    elif not Path(given).exists() and given != digits.NAME:
        yield _text(given, column, task)
    elif Path(given).suffix.lower() in IMAGE_SUFFIXES:
        if task.media != "image":
            raise DataError(f"{given} is an image, and this model reads {task.media}", fix="pass what it was trained on")
        yield given, {column: Media(Path(given), given)}
    elif given == digits.NAME or Path(given).is_dir() or table.suffix(Path(given)):
        examples = read(given).require(task.input_columns())
        yield from ((examples.place(i), examples[i]) for i in range(len(examples)))
    else:
        lines = Path(given).read_text("utf-8").splitlines()
        yield from (_text(line, column, task) for line in lines if line.strip())


def _text(text: str, column: str, task: Task) -> tuple[str, Example]:
    if task.media != "text":
        raise OptionError(f"no file {text!r}, and this model reads {task.media}, not text", wanted="the path of a file")
    return text, {column: text}
