"""What a model answers on a set of rows, how good that is, and where two models part."""

from collections.abc import Sequence
from typing import Any

import numpy

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.progress import track
from penjing.core.report import Measure
from penjing.engine.backends import Backend
from penjing.engine.batches import Encoded, measuring_order
from penjing.maths.intervals import Score, bootstrap, wilson

BATCH_ROWS, BATCH_TOKENS = 64, 8192
RESAMPLES = 1000
MOST_SHOWN = 24


def answer(backend: Backend, task: Task, encoded: Encoded, quiet: bool = True, what: str = "measuring") -> list[Prediction]:
    """The answer to every row, in the order of the rows."""
    predictions: dict[int, Prediction] = {}
    order = measuring_order(encoded.lengths, BATCH_ROWS, BATCH_TOKENS)
    for rows in track(order, what, quiet=quiet, total=len(order)):
        predictions.update(zip(rows, task.predict(backend, encoded.batch(rows), encoded.processor)))
    return [predictions[row] for row in range(len(encoded))]


def quality(task: Task, predictions: Sequence[Prediction], examples: Sequence[Example], seed: int = 0) -> dict[str, Measure]:
    """Every metric of the task with its 95 % interval: Wilson's for shares of rows, a bootstrap over rows otherwise."""
    n = len(examples)
    rows = list(examples)
    measures: dict[str, Measure] = {}
    low: float | None
    high: float | None
    for name, value in task.score(predictions, rows).items():
        each = task.per_row(predictions, rows) if name == task.primary else None
        if each is not None and set(each) <= {0.0, 1.0}:
            low, high = wilson(int(sum(each)), n)
        else:
            low, high = bootstrap(_scorer(task, predictions, rows, name), n, resamples=RESAMPLES, seed=seed) if n > 1 else (None, None)
        measures[name] = Measure(value, "share", low, high, n)
    return measures


def _scorer(task: Task, predictions: Sequence[Prediction], rows: Sequence[Example], metric: str) -> Score:
    return lambda chosen: task.score([predictions[i] for i in chosen], [rows[i] for i in chosen])[metric]


def confusion(labels: Sequence[str], predictions: Sequence[Prediction], examples: Sequence[Example]) -> list[list[int]]:
    """Counts (C, C): row the true label, column the answer."""
    place = {label: i for i, label in enumerate(labels)}
    counts = numpy.zeros((len(labels), len(labels)), dtype=int)
    for prediction, example in zip(predictions, examples):
        counts[place[example["label"]], place[prediction.value]] += 1
    return counts.tolist()


def differing(task: Task, examples: Any, parent: Sequence[Prediction], child: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Rows on which two models answer differently, for the report: those first where the child is wrong and surest."""
    rows = [i for i in range(len(examples)) if parent[i].value != child[i].value]
    truth = {i: str(examples[i][task.target_columns[0]]) for i in rows}
    rows.sort(key=lambda i: (child[i].value == truth[i], -(child[i].score or 0.0)))
    return [
        {
            "row": examples.place(i),
            "show": task.show(examples[i]),
            "truth": truth[i],
            "parent": parent[i].value,
            "child": child[i].value,
            "parent_score": parent[i].score,
            "child_score": child[i].score,
        }
        for i in rows[:MOST_SHOWN]
    ]
