"""Look at data before anything is trained: what cannot be used, what is there twice, who gets which role, what a floor needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy

from penjing.core import spelling
from penjing.core.content import content
from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions, named
from penjing.core.errors import TaskError
from penjing.core.find import find, names
from penjing.core.options import build
from penjing.core.roles import ROLES
from penjing.maths.sample_size import TOLD_POWER, rows_at_zero_flips, rows_needed
from penjing.stages._checks import head_of_data

FLOORS = (0.5, 1.0, 2.0, 3.0, 5.0)  # points
USUAL_FLIPS = 0.05
MOST_BAD_LISTED = 100
MOST_PAIRS = 5
_BAR = 24  # characters of the most frequent label
_MOST_LABELS = 24
_MOST_LETTERS = 60  # of several labels


@dataclass(frozen=True)
class Options:
    """How the rows are to be looked at; bad rows are always left out and listed."""

    task: Annotated[str | None, "what the rows are for; else the task that reads most of their columns"] = None
    head: Annotated[
        Literal["one-label", "many-labels", "number"] | None,
        "kind of answer of a row; else lists mean many labels, fractions a number, all other one label",
    ] = None
    data: DataOptions = DataOptions(skip_bad_rows=True)


def check(source: str | Path, **words: Any) -> dict[str, Any]:
    """What is known of the rows: task, bad rows, repeated rows, counts by role and label, and the proof rows each floor needs.

    words   task, head, columns, groups, proof_where, as the flags of `penjing check`

    Proof rows are counted; which labels they have is told only in the sum over all rows.
    Raises DataError for a file that cannot be read at all, TaskError where no task fits the columns.
    """
    options = build(Options, words)
    task_name = options.task or guess_task(source, options.data)
    kind = find("tasks", task_name).TASK
    head = options.head or head_of_data(kind, source, options.data)
    task = kind(head=head)
    data = Data.open(source, options.data, task)
    bad, labels, units = data.bad or [], _labels(task, data), {role: data.role(role).units for role in ROLES}
    by_flips = task.primary == "accuracy" and not task.open_answers
    return {
        "task": task_name, "head": head, **data.describe(), "num_rows": len(data.examples),
        "units": units if data.examples.grouped else None, "num_bad": len(bad), "bad": bad[:MOST_BAD_LISTED], "labels": labels,
        "alike": spelling.alike(labels), "numbers": _numbers(task, data), **_repeated(task, data), "notes": data.notes,
        "flips_assumed": USUAL_FLIPS, "floors": [_floor(points, units["proof"]) for points in FLOORS] if by_flips else [],
    }  # fmt: skip


def guess_task(source: str | Path, options: DataOptions) -> str:
    """The task whose columns are all there; of several the one that reads most, of equals the first."""
    found = set(named(source, options).columns)
    fitting = [name for name in names("tasks") if set(find("tasks", name).TASK.columns) <= found]
    if not fitting:
        wanted = "; ".join(f"{name}: {', '.join(find('tasks', name).TASK.columns)}" for name in names("tasks"))
        there = ", ".join(repr(name) for name in sorted(found)[:10])
        nearly = max(names("tasks"), key=lambda name: (len(found & {*find("tasks", name).TASK.columns}), name == "text-classification"))
        lacking = (f"{column}=<its name here>" for column in find("tasks", nearly).TASK.columns if column not in found)
        fix = f"say which is which, for {nearly}: --columns {','.join(lacking)}"
        raise TaskError(f"{source}: no task fits its columns {there}", wanted=wanted, fix=fix)
    return max(fitting, key=lambda name: len(find("tasks", name).TASK.columns))


def _labels(task: Task, data: Data) -> dict[str, int]:
    targets = data.targets(task)
    counts = dict.fromkeys(task.learn_labels([target for target, _ in targets]), 0)
    for target, count in targets:
        for label in task.labels_of(target):
            counts[label] += count
    return counts


def _numbers(task: Task, data: Data) -> dict[str, float] | None:
    """Of the numbers of the train rows; None where labels are learnt."""
    if task.open_answers:
        return None
    rows, column = data.role("train"), task.target_columns[0]
    if rows.kinds[column] is not float or not len(rows):
        return None
    values = numpy.array(rows.column(column))
    return {"low": values.min(), "high": values.max(), "mean": values.mean(), "deviation": values.std()}


def _repeated(task: Task, data: Data) -> dict[str, Any]:
    """Rows that say the same but for case, punctuation and white space: how many, across roles, and with different labels.

    Labels are compared outside of the proof rows only.
    """
    keys, role, place = content(data.examples, data.inputs), data.roles.role, data.examples.place
    _, number, counts = numpy.unique(keys, return_inverse=True, return_counts=True)
    several = counts[number] > 1
    held_out = {int(keys[row]): int(row) for row in numpy.flatnonzero(several & ((role == 1) | (role == 2)))[::-1]}
    left_out = numpy.flatnonzero(role >= len(ROLES))
    crossing = [(place(int(row)), place(held_out[int(keys[row])])) for row in left_out[: 20 * MOST_PAIRS] if int(keys[row]) in held_out]
    conflicts = _conflicts(task, data, keys, numpy.flatnonzero(several & (role != ROLES.index("proof"))))
    return {
        "num_repeated": len(keys) - len(counts), "num_left_out": len(left_out), "crossing": crossing[:MOST_PAIRS],
        "num_conflicts": len(conflicts), "conflicts": conflicts[:MOST_PAIRS],
    }  # fmt: skip


def _conflicts(task: Task, data: Data, keys: numpy.ndarray, rows: numpy.ndarray) -> list[dict[str, Any]]:
    """For each input among `rows` that has two labels, the first row of either; nothing where numbers are learnt."""
    if task.open_answers or data.examples.kinds[task.target_columns[0]] is float:
        return []
    column = task.target_columns[0]
    first: dict[int, tuple[int, Any]] = {}
    found: dict[int, dict[str, Any]] = {}
    for row, value in zip(rows.tolist(), data.examples.take(rows).column(column)):
        key, label = int(keys[row]), sorted(value) if data.examples.kinds[column] is set else value
        before, said = first.setdefault(key, (row, label))
        if said != label and key not in found:
            found[key] = {"rows": [data.examples.place(before), data.examples.place(row)], "labels": [said, label]}
    return list(found.values())


def _floor(points: float, there: int) -> dict[str, Any]:
    least, needed = rows_at_zero_flips(points / 100), rows_needed(points / 100, USUAL_FLIPS, TOLD_POWER)
    verdict = "provable" if needed <= there else "a good child may fail by bad luck" if least <= there else "too few rows"
    return {"floor": points, "rows_at_least": least, "rows_needed": needed, "rows_there": there, "verdict": verdict}


def told(source: str, found: dict[str, Any]) -> str:
    """What `check` found, for a terminal."""
    how = f" ({found['head']}; --head and --task say otherwise)" if found["head"] else " (--task says otherwise)"
    lines = [f"{source}: {found['num_rows']:,} rows for {found['task']}{how}"]
    if found["num_bad"]:
        lines.append(f"bad     {found['num_bad']:,} rows cannot be used; correct them, or --skip-bad-rows leaves them out of training:")
        lines += [f"        {said}" for said in found["bad"]]
        more = found["num_bad"] - len(found["bad"])
        lines += [f"        ... and {more:,} more"] if more else []
    lines.append("roles   " + ", ".join(f"{role} {count:,}" for role, count in found["rows"].items()) + f" (by {found['roles']})")
    if found["units"]:
        lines.append("groups  " + ", ".join(f"{role} {count:,}" for role, count in found["units"].items()))
    lines += [*_told_labels(found), *_told_repeated(found), *(f"note    {note}" for note in found["notes"])]
    for floor in found["floors"]:
        needed = f"{floor['rows_needed']:,} proof rows needed at {found['flips_assumed']:.0%} flips"
        lines.append(f"floor   {floor['floor']} points: {needed}, {floor['verdict']}")
    if not found["floors"]:
        lines.append("floor   here it is proven by a bootstrap, whose need of rows is not told before")
    elif all(floor["verdict"] != "provable" for floor in found["floors"]):
        lines.append("next    more rows; or finetune --folds 5 to learn from all and let each row prove once;")
        lines.append("        or shrink --floor-agreement, which is proven on rows without labels")
    return "\n".join(lines)


def _told_labels(found: dict[str, Any]) -> list[str]:
    if found["numbers"]:
        return ["numbers {low:g} to {high:g}, mean {mean:.4g}, deviation {deviation:.4g} (train rows)".format(**found["numbers"])]
    most = sorted(found["labels"].items(), key=lambda pair: -pair[1])
    width = max((len(label) for label, _ in most[:_MOST_LABELS]), default=0)
    top = max((count for _, count in most), default=0) or 1
    lines = [f"{label:<{width}}  {'█' * max(1, round(_BAR * count / top)):<{_BAR}} {count:,}" for label, count in most[:_MOST_LABELS]]
    lines += [f"... and {len(most) - _MOST_LABELS:,} more labels"] if len(most) > _MOST_LABELS else []
    if 2 * len(most) > found["num_rows"]:
        lines.append("most rows have a label of their own; where these are numbers: --head number")
    told = [f"{'labels' if i == 0 else '':<8}{line}" for i, line in enumerate(lines)]
    return told + [
        f"alike   {other!r} and {first!r} differ in case or white space alone: --alike-labels merge or apart"
        for other, first in found["alike"].items()
    ]


def _told_repeated(found: dict[str, Any]) -> list[str]:
    lines = []
    if found["num_repeated"]:
        lines.append(f"twice   {found['num_repeated']:,} rows say what another says, but for case, punctuation and white space")
    if found["num_left_out"]:
        lines.append(f"        {found['num_left_out']:,} rows are left out of train or tune, as tune or proof hold them too")
    lines += [f"        {row}  is also  {other}" for row, other in found["crossing"]]
    if found["num_conflicts"]:
        lines.append(f"clash   {found['num_conflicts']:,} inputs have two labels:")
    return lines + [
        f"        {a} {_short(x)}  but  {b} {_short(y)}"
        for a, b, x, y in ((*clash["rows"], *clash["labels"]) for clash in found["conflicts"])
    ]


def _short(label: Any) -> str:
    """A label, or as many of several as one can take in."""
    said = repr(label)
    return said if len(said) <= _MOST_LETTERS else f"{said[:_MOST_LETTERS]} ..."
