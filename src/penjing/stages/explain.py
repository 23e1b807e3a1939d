"""Why a model answers as it does: which words of a text, patches of an image or moments of a sound speak for the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.data import pairs
from penjing.core.errors import DataError, OptionError, TaskError, nearest, need
from penjing.core.examples import read, spread
from penjing.core.find import find
from penjing.core.model_dir import ModelDir, check_page, write_page
from penjing.core.options import Between, build
from penjing.core.progress import say
from penjing.core.runtime import Runtime
from penjing.stages._inputs import Named, rows_of

METHODS = "methods.explain"
MOST_TRACED = 5000  # training rows, evenly spread


@dataclass(frozen=True)
class Options:
    """What is explained, by which method, and where a page of it is written."""

    method: Annotated[str, "how it is found out; penjing methods tells what each is"] = "integrated-gradients"
    columns: Annotated[list[str] | None, "names of columns where they differ: text=sentence"] = None
    label: Annotated[str | None, "the label that is explained; where not given the answer"] = None
    part: Annotated[int | None, "part of the answer that is explained, from 0: a tagged word, a written token", Between(0, 10**9)] = None
    among: Annotated[str | None, "training rows with labels: which of them pushed an answer most, and which are most alike"] = None
    nearest: Annotated[int, "how many of these are told", Between(1, 1000)] = 3
    most: Annotated[int, "rows of a file that are explained, evenly spread", Between(1, 100_000)] = 50
    settings: Any = None


def explain(
    base: ModelDir | str | Path, inputs: str | Sequence[str], *, out: str | Path | None = None, runtime: Runtime | None = None, **words: Any
) -> list[dict[str, Any]]:
    """For each row of `inputs` its answer and its units, with what says how far to trust them.

    A unit is {"text", "column", "start", "end", "score"}, of an image {"row", "column", "score"}, of a sound {"moment", "pitch", "score"}.

    inputs    as `predict` takes them
    out       where a page is written that shows them; None for none

    Raises OptionError for a method that does not fit the model, or a part or label that is not there; ModelError for an engine's artefact
    and a method that needs gradients; MissingExtra where captum is not installed.
    """
    from penjing.engine import influence, load, reasons

    runtime, method = runtime or Runtime(), str(words.get("method", Options.method))
    need("captum", "explain")
    options: Any = build(Options, words, find(METHODS, method).Options)
    base = ModelDir.open(base, runtime)
    load.require_device(runtime)
    task = load.task_for(base)
    if "explain" not in task.stages:
        wanted = "a model that answers rows one by one"
        raise TaskError(f"answers of {base.task} are not explained", wanted=wanted, fix="choose another MODEL")
    if out is not None:
        check_page(Path(out))
    reasons.require_label(task, options.label)
    given, renamed = [inputs] if isinstance(inputs, str) else inputs, pairs(options.columns or [])
    trained = _labelled(options.among, task, renamed) if options.among else []
    rows = [row for each in given for row in rows_of(each, task, renamed, runtime)]
    if not rows:
        raise OptionError("nothing to explain", wanted="files, text, or - for standard input", fix="pass one that is not empty")
    if len(rows) > options.most:
        say(f"{options.most} of {len(rows):,} rows, evenly spread; --most says how many", runtime.quiet)
        rows = [rows[int(i)] for i in spread(len(rows), options.most)]
    loaded = reasons.opened(base, task, runtime)
    asked = _asked(loaded, rows[:1], runtime)
    reasons.require_fitting(loaded, asked[0][1], options.method)
    asked += _asked(loaded, rows[1:], runtime)
    marks: Sequence[dict[str, Any] | None] = [None] * len(rows)
    if trained:
        marks = influence.traced(loaded, [(row, answer.value) for (_, row), (*_, answer) in zip(rows, asked)], trained, options.nearest)
    found = reasons.explain(loaded, asked, options.method, options.settings, runtime, part=options.part, label=options.label)
    found = [replace(each, traced=mark) for each, mark in zip(found, marks)]
    if out is not None:
        from penjing.engine import reasons_page

        usual = influence.usual_rows(loaded, [row for _, row in rows], [answer.value for *_, answer in asked])
        write_page(Path(out), reasons_page.page_of(found, loaded.task, base, {answer: found[i] for answer, i in usual.items()}))
    return [explanation.told() for explanation in found]


def _asked(loaded: Any, rows: Sequence[Named], runtime: Runtime) -> list[tuple[str, Example, Prediction]]:
    """Each row by its name, with the answer in it where that is written, and the answer."""
    from penjing.engine import batches, measure, reasons

    encoded = batches.Encoded([row for _, row in rows], loaded.task, loaded.processor, labelled=False)
    answers = measure.answer(reasons.answering(loaded), loaded.task, encoded, runtime.quiet, "predicting")
    return [(name, loaded.task.answered(row, answer.value), answer) for (name, row), answer in zip(rows, answers)]


def _labelled(given: str, task: Task, renamed: dict[str, str]) -> list[tuple[str, Example]]:
    """What each training row is called, and the row with its label.

    Raises DataError for rows without a label that the model knows.
    """
    examples, _ = task.adapt(read(given).rename(renamed))
    examples = examples.require(task.columns)
    rows = [(examples.place(int(i)), examples[int(i)]) for i in spread(len(examples), min(MOST_TRACED, len(examples)))]
    for place, row in rows:
        if task.labels and (unknown := {*task.labels_of(row)} - {*task.labels}):
            label = unknown.pop()
            raise DataError(
                f"{place}: no label {label!r} in this model", wanted=nearest(label, task.labels), fix="pass the rows it was trained on"
            )
    return rows
