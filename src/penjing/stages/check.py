"""Look at data before anything is trained: which task they fit, who gets which role, what a floor would need."""

from pathlib import Path
from typing import Any

from penjing.core.data import Data, DataOptions, pairs
from penjing.core.errors import TaskError
from penjing.core.examples import read
from penjing.core.find import find, names
from penjing.maths.sample_size import TOLD_POWER, rows_at_zero_flips, rows_needed

FLOORS = (0.5, 1.0, 2.0, 3.0, 5.0)  # points
USUAL_FLIPS = 0.05


def check(source: str | Path, columns: list[str] | None = None) -> dict[str, Any]:
    """What is known of the rows: task, counts by role and label, notes, and the proof rows each floor needs.

    Raises DataError with file, row and column for rows that cannot be used, TaskError where no task fits the columns.
    """
    options = DataOptions(columns=columns)
    task_name = guess_task(source, options)
    task = find("tasks", task_name).TASK
    data = Data.open(source, options, task)
    labels = {str(label): 0 for label in task().learn_labels(data.examples)}
    for label in data.examples.column(task.target_columns[0]):
        labels[str(label)] += 1
    num_proof = len(data.roles.rows("proof"))
    return {
        "task": task_name, **data.describe(), "num_rows": len(data.examples), "labels": labels, "notes": data.notes,
        "flips_assumed": USUAL_FLIPS, "floors": [_floor(points, num_proof) for points in FLOORS],
    }  # fmt: skip


def _floor(points: float, there: int) -> dict[str, Any]:
    least, needed = rows_at_zero_flips(points / 100), rows_needed(points / 100, USUAL_FLIPS, TOLD_POWER)
    verdict = "provable" if needed <= there else "a good child may fail by bad luck" if least <= there else "too few rows"
    return {"floor": points, "rows_at_least": least, "rows_needed": needed, "rows_there": there, "verdict": verdict}


def guess_task(source: str | Path, options: DataOptions) -> str:
    """The first task whose columns are all there."""
    found = set(read(source).columns)
    renamed = set(pairs(options.columns or []).values())
    fitting = [name for name in names("tasks") if set(find("tasks", name).TASK.columns) <= found | renamed]
    if not fitting:
        wanted = "; ".join(f"{name}: {', '.join(find('tasks', name).TASK.columns)}" for name in names("tasks"))
        there = ", ".join(repr(name) for name in sorted(found)[:10])
        fix = "say which is which: --columns text=<its name here>,label=<its name here>"
        raise TaskError(f"{source}: no task fits its columns {there}", wanted=wanted, fix=fix)
    return fitting[0]
