"""Ask a model: for rows of a file, for an image or a sound, for text from the command line or standard input."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.data import pairs
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import CARRIED, read
from penjing.core.find import find
from penjing.core.generation import OWN, Generation
from penjing.core.kinds import media_of_file
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, build
from penjing.core.progress import say
from penjing.core.readers import plain_text, table
from penjing.core.readers.source_file import explain_bytes
from penjing.core.runtime import Runtime
from penjing.stages._checks import ZERO_SHOT, require_askable, require_written

SEARCH = "feature-extraction"
_Row = tuple[str, Example]
"""What a row is called, and the row."""


@dataclass(frozen=True)
class Options:
    """How rows are read, and answers written where they are."""

    columns: Annotated[list[str] | None, "names of columns where they differ: text=sentence,label=mood"] = None
    labels: Annotated[
        list[str] | None,
        "for a model that has learnt none (an encoder, of entailment, of language): their words, each a word or label=sentence",
    ] = None
    among: Annotated[
        str | None, "for a model of vectors, or an encoder: a file of texts, of which those nearest to each INPUT are the answers"
    ] = None
    nearest: Annotated[int, "how many of these are told", Between(1, 10**6)] = 5
    generation: Generation = OWN


def predict(
    base: ModelDir | str | Path, inputs: str | Sequence[str], *, runtime: Runtime | None = None, **words: Any
) -> list[dict[str, Any]]:
    """The answer to each row of `inputs`: {"input", "value", "score"}, and what a task tells beside it (`Task.details`).

    inputs    an existing file holds rows (an image or a sound is one row), "-" is standard input, anything else is literal text
    words     columns, beams, temperature and the other options of `penjing predict`

    Raises OptionError for text where the model reads images or sounds, DataError for a row that cannot be read.
    """
    from penjing.engine import backends, batches, load, measure

    runtime, options = runtime or Runtime(), build(Options, words)
    base = ModelDir.open(base, runtime)
    load.require_device(runtime)
    task = _asked(base, options.labels) if options.labels else _searched(base, options.among) if options.among else load.task_for(base)
    require_written(type(task), options.generation)
    given, renamed = [inputs] if isinstance(inputs, str) else inputs, pairs(options.columns or [])
    rows = [row for each in given for row in _rows(each, task, renamed, runtime)]
    if not rows:
        raise OptionError("nothing to predict", wanted="files, text, or - for standard input", fix="pass one that is not empty")
    others = [*_rows(options.among, task, renamed, runtime)] if options.among else []
    if options.among and not others:
        raise DataError(f"{options.among}: no texts", wanted="a file of texts", fix="pass one that is not empty")
    processor, backend = load.load_processor(base, task), backends.open_backend(base, task, runtime, generation=options.generation)

    def ask(rows: Sequence[_Row], what: str = "predicting") -> list[Prediction]:
        encoded = batches.Encoded([row for _, row in rows], task, processor, labelled=False)
        return measure.answer(backend, task, encoded, runtime.quiet, what)

    answers = ask(rows)
    if options.among:
        return [*_nearest(rows, answers, others, ask(others, "reading"), options.nearest)]
    said = zip(rows, answers)
    return [{"input": name, "value": p.value, "score": p.score, **task.details(p.value, row)} for (name, row), p in said]


def _searched(base: ModelDir, among: str) -> Task:
    """The task of a model that is asked which texts are near; an encoder that has learnt none may be.

    Raises OptionError for one whose answers are no vectors, and for texts that are not there.
    """
    from penjing.engine import load

    if not _exists(Path(among)):
        raise OptionError(f"--among cannot be {among!r}: there is no such file", wanted="a file of texts", fix="correct the path")
    task = find("tasks", SEARCH).TASK() if base.task is None else load.task_for(base)
    if not task.embeds:
        raise OptionError(f"--among is for answers that are vectors, and {base} is for {base.task}", wanted=SEARCH, fix="leave --among out")
    return task  # type: ignore[no-any-return]


def _nearest(
    asked: Sequence[_Row], vectors: Sequence[Prediction], others: Sequence[_Row], theirs: Sequence[Prediction], most: int
) -> Iterator[dict[str, Any]]:
    """For each text that is asked about those of others whose vectors are nearest, nearest first, with the cosine."""
    found = numpy.array([p.value for p in theirs], numpy.float32)
    for (name, _), vector in zip(asked, vectors):
        likeness = found @ numpy.array(vector.value, numpy.float32)
        for i in numpy.argsort(-likeness, kind="stable")[:most].tolist():
            place, row = others[i]
            yield {"input": name, "value": next(iter(row.values())), "score": round(float(likeness[i]), 6), "row": place}


def _asked(base: ModelDir, labels: list[str]) -> Task:
    """The task of a model that is asked by the words of labels."""
    require_askable(base, labels)
    return find("tasks", ZERO_SHOT).TASK(labels).of(base.config)  # type: ignore[no-any-return]


def _rows(given: str, task: Task, renamed: dict[str, str], runtime: Runtime) -> Iterator[_Row]:
    """(what to call it, row) for each row that one INPUT stands for."""
    path = Path(given)
    there = bool(given) and _exists(path)
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


def _typed(text: str, task: Task) -> _Row:
    """The row that a typed text stands for, called by it; a row of several columns by the first of them."""
    if task.media != "text":
        raise OptionError(f"no file {text!r}, and this model reads {task.media}s", wanted="the path of a file", fix="correct the path")
    row, columns = task.row_of(text), [*task.input_columns()]
    return text if len(columns) == 1 else row[columns[0]], row
