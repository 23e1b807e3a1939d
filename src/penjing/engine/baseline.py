"""The simplest thing that works, trained on the same rows: every card sets it beside the model."""

import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.examples import Examples, spread
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Measure
from penjing.engine.heap import give_back
from penjing.engine.load import load_processor
from penjing.engine.measure import quality

MOST_ROWS, MOST_BYTES = 100_000, 8 << 20  # rows, and text in them: a linear model gains little from more, and pairs of words fill memory
_PIECE_ROWS = 10_000
TIMED_ROWS = 50


class Baseline(NamedTuple):
    """A fitted scikit-learn pipeline and what is known of it without any measuring rows.

    read    what it is shown of a row
    """

    name: str
    pipeline: Any
    fit_s: float
    bytes: int
    read: Callable[[Example], Any]

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Its answers."""
        pieces = (
            [self.read(examples[i]) for i in range(s, min(s + _PIECE_ROWS, len(examples)))] for s in range(0, len(examples), _PIECE_ROWS)
        )
        answers = (value for piece in pieces for value in self.pipeline.predict(piece))
        return [Prediction(value.item() if isinstance(value, numpy.generic) else value) for value in answers]


def fit_baseline(task: Task, rows: Examples, model: ModelDir, quiet: bool = True) -> Baseline | None:
    """Fit the task's baseline; the majority where all labels are one; None for a task that has none.

    model    beside which it will stand: where a text is its own target, it reads the same tokens
    """
    processor = load_processor(model, task) if task.self_supervised else None

    def read(example: Example) -> Any:
        return example if processor is None else task.encode(example, processor)

    mean_bytes = rows.sizes(task.input_columns()).mean()
    examples = [rows[int(i)] for i in spread(len(rows), min(MOST_ROWS, int(MOST_BYTES // max(1, mean_bytes))))]
    pipeline = task.baseline(len(examples))
    if pipeline is None:
        return None
    answers = [task.truth(example) for example in examples]
    if isinstance(answers[0], str) and len(set(answers)) == 1:
        from sklearn.dummy import DummyClassifier  # 0.6 s

        pipeline = DummyClassifier()
    name = type(pipeline[-1] if len(getattr(pipeline, "steps", [])) else pipeline).__name__
    say(f"fitting the baseline, {name}, on {len(examples):,} rows", quiet)
    give_back()  # pairs of words take much memory, and what measuring held is free by now
    start = time.perf_counter()
    pipeline.fit([read(example) for example in examples], answers)
    return Baseline(name, pipeline, time.perf_counter() - start, len(pickle.dumps(pipeline)), read)


def measure_baseline(baseline: Baseline, task: Task, examples: Examples) -> dict[str, Any]:
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
