"""The simplest thing that works, trained on the same rows: every card sets it beside the model."""

import pickle
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sklearn.dummy import DummyClassifier

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.progress import say
from penjing.core.report import Measure
from penjing.engine.measure import quality

MOST_ROWS = 100_000  # a linear model gains next to nothing from more
TIMED_ROWS = 50


class Baseline(NamedTuple):
    """A fitted scikit-learn pipeline and what is known of it without any measuring rows."""

    name: str
    pipeline: Any
    fit_s: float
    bytes: int

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Its answers."""
        return [Prediction(str(label)) for label in self.pipeline.predict(list(examples))]


def fit_baseline(task: Task, rows: Sequence[Example], quiet: bool = True) -> Baseline | None:
    """Fit the task's baseline; the majority where all labels are one; None for a task that has none."""
    examples = [rows[i] for i in range(min(len(rows), MOST_ROWS))]
    pipeline = task.baseline(len(examples))
    if pipeline is None:
        return None
    labels = [example[task.target_columns[0]] for example in examples]
    if len(set(labels)) == 1:
        pipeline = DummyClassifier()
    name = type(pipeline[-1] if len(getattr(pipeline, "steps", [])) else pipeline).__name__
    say(f"fitting the baseline, {name}, on {len(examples):,} rows", quiet)
    start = time.perf_counter()
    pipeline.fit(examples, labels)
    return Baseline(name, pipeline, time.perf_counter() - start, len(pickle.dumps(pipeline)))


def measure_baseline(baseline: Baseline, task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    """Quality, bytes (as pickled) and milliseconds for one row, in the form that Report.baseline has."""
    measures = quality(task, baseline.predict(examples), examples)
    times = []
    for i in range(min(TIMED_ROWS, len(examples))):
        start = time.perf_counter()
        baseline.predict([examples[i]])
        times.append(1000 * (time.perf_counter() - start))
    measures["bytes"] = Measure(baseline.bytes, "bytes", better="lower")
    measures["latency_ms"] = Measure(sorted(times)[len(times) // 2], "ms", n=len(times), better="lower")
    return {"name": baseline.name, "measures": measures, "fit_s": round(baseline.fit_s, 2)}
