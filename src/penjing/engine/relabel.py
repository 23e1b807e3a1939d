"""Rows without labels: the parent's answers stand for the truth, so that a floor on quality becomes one on agreement with the parent."""

from dataclasses import replace

from penjing.core.contracts import Task
from penjing.core.data import Data
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Measure, Report
from penjing.core.runtime import Runtime
from penjing.engine.appraise import predict

METRIC = "agreement"


def by_parent(data: Data, base: ModelDir, task: Task, runtime: Runtime) -> Data:
    """The same rows, each with what `base` answers as its label."""
    say(f"asking the parent about {len(data.examples):,} rows", runtime.quiet)
    said = predict(base, task, data.examples, runtime)
    column = task.target_columns[0]
    return replace(data, examples=data.examples.with_column(column, [task.as_target(p.value) for p in said], task.columns[column]))


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
