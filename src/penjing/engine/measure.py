"""What a model answers on a set of rows, how good that is, and where two models part."""

import collections
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.examples import Examples
from penjing.core.progress import progress
from penjing.core.report import Measure
from penjing.engine.backends import Backend
from penjing.engine.batches import Encoded, measuring_batches
from penjing.maths.flips import discordant, sign_test
from penjing.maths.intervals import bootstrap, wilson

BATCH_ROWS, BATCH_TOKENS = 64, 8192
RESAMPLES = 1000
MOST_SHOWN = 24  # rows
MOST_GROUPS = 8
_NONE = Prediction(None)


def answer(backend: Backend, task: Task, encoded: Encoded, quiet: bool = True, what: str = "measuring") -> list[Prediction]:
    """The answer to every row, in the order of the rows."""
    predictions = [_NONE] * len(encoded)
    with progress(what, len(encoded), quiet) as shown:
        for rows in measuring_batches(encoded, BATCH_ROWS, BATCH_TOKENS):
            for row, prediction in zip(rows, task.predict(backend, encoded.batch(rows), encoded.processor)):
                predictions[row] = prediction
            shown.step(len(rows))
    return task.together(predictions)


def best_way(backend: Backend, task: Task, encoded: Encoded, examples: Sequence[Example]) -> tuple[Task, float, list[Prediction]]:
    """The task with the decision that does best on these rows, its primary metric, and its answers; the model is asked once."""
    ways = task.ways()
    if len(ways) == 1:
        predictions = answer(backend, task, encoded)
        return task, task.score(predictions, examples)[task.primary], predictions
    said = [[_NONE] * len(encoded) for _ in ways]
    for rows in measuring_batches(encoded, BATCH_ROWS, BATCH_TOKENS):
        batch = encoded.batch(rows)
        outputs = backend(**batch.inputs)
        for way, predictions in zip(ways, said):
            for row, prediction in zip(rows, way.decode(outputs, batch, encoded.processor)):
                predictions[row] = prediction
    scores = [way.score(predictions, examples)[task.primary] for way, predictions in zip(ways, said)]
    best = scores.index(max(scores))
    return ways[best], scores[best], said[best]


def quality(task: Task, predictions: Sequence[Prediction], examples: Examples, seed: int = 0) -> dict[str, Measure]:
    """Every metric of the task with its 95 % interval: Wilson's for shares of single rows, a bootstrap over rows or groups otherwise."""
    n, rows, groups = len(examples), examples.only(task.judged_by()), examples.groups()
    scores = task.scorer(predictions, rows)
    found = scores(numpy.arange(n))
    each = task.per_row(predictions, rows)
    single = groups is None and each is not None and set(each) <= {0.0, 1.0}
    resampled = [name for name in found if name not in task.of_the_whole and not (single and name == task.primary)]
    ends: dict[str, tuple[float, float]] = {task.primary: wilson(int(sum(each)), n)} if single and each is not None else {}
    if resampled and examples.units > 1:

        def draw(chosen: numpy.ndarray) -> list[float]:
            drawn = scores(chosen)
            return [drawn[name] for name in resampled]

        ends |= zip(resampled, zip(*bootstrap(draw, n, resamples=RESAMPLES, seed=seed, groups=groups)))
    return {name: _measure(task, name, value, n, *ends.get(name, (None, None))) for name, value in found.items()}


def _measure(task: Task, name: str, value: float, n: int, low: float | None, high: float | None) -> Measure:
    return Measure(value, "", low, high, n, "lower") if name in task.errors else Measure(value, "share", low, high, n)


def by_group(task: Task, examples: Examples, answers: Mapping[str, Sequence[Prediction]], seed: int = 0) -> dict[str, Any] | None:
    """The primary metric in each of the largest groups, for the report; None where rows do not come in groups.

    answers   of each model, by the name that the report gives it
    """
    names = examples.groups()
    if names is None:
        return None
    counts = collections.Counter(names).most_common()
    listed = []
    for group, n in counts[:MOST_GROUPS]:
        rows = [i for i, name in enumerate(names) if name == group]
        alone = replace(examples.take(rows), grouped=None)
        found = {who: quality(task, [said[i] for i in rows], alone, seed)[task.primary] for who, said in answers.items()}
        listed.append({"group": group, "n": n, **found, **_turned(task, alone, [[said[i] for i in rows] for said in answers.values()])})
    return {"column": examples.grouped, "num_groups": len(counts), "largest": listed}


def _turned(task: Task, rows: Examples, answers: Sequence[Sequence[Prediction]]) -> dict[str, Any]:
    """How many rows turned wrong and right from the first model to the second, and the chance of so many wrong were both as good.

    Nothing for one model, or where a row is not simply right or wrong.
    """
    scores = [each for said in answers if (each := task.per_row(said, rows)) is not None and {*each} <= {0.0, 1.0}]
    if len(scores) < 2:
        return {}
    worse, better = discordant(*scores)
    return {"worse": worse, "better": better, "chance": sign_test(*scores)}


def differing(task: Task, examples: Examples, parent: Sequence[Prediction], child: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Rows on which two models answer differently, for the report: those first where the child is worse by most, then surest."""

    def told(value: Any, i: int) -> Any:
        return task.details(value, examples[i]).get("told", value)

    rows = [i for i in range(len(examples)) if parent[i].value != child[i].value]
    worse = {i: task.off(child[i], examples[i]) - task.off(parent[i], examples[i]) for i in rows}
    rows.sort(key=lambda i: (-worse[i], -(child[i].score or 0.0)))
    return [
        {
            "row": examples.place(i),
            "show": task.show(examples[i]),
            "truth": told(task.truth(examples[i]), i),
            "written": task.generates,
            "parent": told(parent[i].value, i),
            "child": told(child[i].value, i),
            "parent_score": parent[i].score,
            "child_score": child[i].score,
        }
        for i in rows[:MOST_SHOWN]
    ]
