"""Rows without labels: the parent's answers stand for the truth, so that a floor on quality becomes one on agreement with the parent."""

from dataclasses import replace
from typing import Any

from penjing.core.contracts import Task
from penjing.core.data import Data
from penjing.core.examples import Examples
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Measure, Report
from penjing.core.runtime import Runtime
from penjing.engine.appraise import predict
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded
from penjing.engine.measure import answer

METRIC = "agreement"


def by_parent(data: Data, base: ModelDir, task: Task, runtime: Runtime) -> Data:
    """The same rows, each with what `base` answers as its label."""
    say(f"asking the parent about {len(data.examples):,} rows", runtime.quiet)
    said = predict(base, task, data.examples, runtime)
    column = task.target_columns[0]
    return replace(data, examples=data.examples.with_column(column, [task.as_target(p.value) for p in said], task.columns[column]))


def answers(rows: Examples, teacher: Loaded, runtime: Runtime, how: Generation) -> list[Any]:
    """What a model in memory answers to each row, in the form of `answer_column`.

    how   it writes, where answers are written
    """
    task = teacher.task
    asked = [task.asked(row) for row in rows] if task.generates else rows
    encoded = Encoded(asked, task, teacher.processor, labelled=False, quiet=runtime.quiet)
    backend = TorchBackend(teacher.model, runtime.threads, how, runtime.seed)
    found = answer(backend, task, encoded, runtime.quiet, "writing answers" if task.generates else "labelling")
    return [task.as_target(prediction.value) for prediction in found]


def answer_column(task: Task) -> str:
    """The column of the answer to a row: the target, or what follows a prompt."""
    return next(iter(task.target_columns), "text")


def as_agreement(report: Report, task: Task) -> Report:
    """The report on such rows in true words: of the qualities only the primary stays, and it is called agreement."""
    baseline = report.baseline and {**report.baseline, "measures": _renamed(report.baseline["measures"], task)}
    facts = {name: fact for name, fact in report.facts.items() if name != "confusion"} | {"metric": METRIC}
    told = f"agreement is the {task.primary} of the answers where those of the parent stand for the truth; no row had a label"
    return replace(
        report,
        before=_renamed(report.before, task),
        after=_renamed(report.after, task),
        baseline=baseline,
        facts=facts,
        notes=[*report.notes, told],
    )


def _renamed(measures: dict[str, Measure], task: Task) -> dict[str, Measure]:
    costs = {name: measure for name, measure in measures.items() if name.endswith(("_bytes", "bytes", "_ms", "parameters"))}
    return {**({METRIC: measures[task.primary]} if measures else {}), **costs}
