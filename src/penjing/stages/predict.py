"""Ask a model: for rows of a file, for an image or a sound, for text from the command line or standard input."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy

from penjing.core.contracts import Prediction, Task
from penjing.core.data import pairs
from penjing.core.errors import DataError, OptionError
from penjing.core.find import find
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, build
from penjing.core.runtime import Runtime
from penjing.stages._checks import ZERO_SHOT, require_askable, require_written
from penjing.stages._inputs import Named, exists, rows_of

SEARCH = "feature-extraction"


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
    rows = [row for each in given for row in rows_of(each, task, renamed, runtime)]
    if not rows:
        raise OptionError("nothing to predict", wanted="files, text, or - for standard input", fix="pass one that is not empty")
    others = [*rows_of(options.among, task, renamed, runtime)] if options.among else []
    if options.among and not others:
        raise DataError(f"{options.among}: no texts", wanted="a file of texts", fix="pass one that is not empty")
    processor, backend = load.load_processor(base, task), backends.open_backend(base, task, runtime, generation=options.generation)

    def ask(rows: Sequence[Named], what: str = "predicting") -> list[Prediction]:
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

    if not exists(Path(among)):
        raise OptionError(f"--among cannot be {among!r}: there is no such file", wanted="a file of texts", fix="correct the path")
    task = find("tasks", SEARCH).TASK() if base.task is None else load.task_for(base)
    if not task.embeds:
        raise OptionError(f"--among is for answers that are vectors, and {base} is for {base.task}", wanted=SEARCH, fix="leave --among out")
    return task  # type: ignore[no-any-return]


def _nearest(
    asked: Sequence[Named], vectors: Sequence[Prediction], others: Sequence[Named], theirs: Sequence[Prediction], most: int
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
