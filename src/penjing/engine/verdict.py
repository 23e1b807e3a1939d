"""From predictions and a floor to a verdict: which of the two tests a task's primary metric and its rows call for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.examples import Examples
from penjing.maths.agreement import judge_agreement
from penjing.maths.flips import discordant
from penjing.maths.proof import Verdict, judge, judge_by_bootstrap


def floor_share(floor: str, parent_value: float) -> float:
    """A floor as users write it, points ("1.0") or a share of the parent's ("3%"), as a loss in [0, 1]."""
    number = float(floor.removesuffix("%")) / 100
    return number * parent_value if floor.endswith("%") else number


def verdict(task: Task, rows: Examples, parent: Sequence[Prediction], child: Sequence[Prediction], floor: float, seed: int) -> Verdict:
    """Tango's score test where the metric is a mean over rows that are right or wrong, a paired bootstrap otherwise.

    Where rows come in groups they are no independent evidence, which Tango takes them for: then groups are drawn. Where the parent is
    right on every row, as where its answers stand for the truth, none can get better, and the bound is exact.
    """
    listed, groups = list(rows.only(task.target_columns)), rows.groups()
    was, now = task.per_row(parent, listed), task.per_row(child, listed)
    if groups is None and was is not None and now is not None and {*was, *now} <= {0.0, 1.0}:
        if set(was) == {1.0}:
            return judge_agreement(now.count(0.0), len(rows), floor)
        return judge(*discordant(was, now), len(rows), floor)
    before, after = (primary(task, said, listed) for said in (parent, child))
    return judge_by_bootstrap(before, after, len(rows), floor, seed=seed, groups=groups, at_stake=task.at_stake(parent, listed))


def primary(task: Task, said: Sequence[Prediction], rows: Sequence[Example]) -> Callable[[numpy.ndarray], float]:
    """The primary metric of the rows whose indices it is given."""
    scores = task.scorer(said, rows)
    return lambda chosen: scores(chosen)[task.primary]


def proof_facts(found: Verdict, floor: str, units: str = "rows", **more: Any) -> dict[str, Any]:
    """A verdict as reports hold it; losses and bounds in points of the metric.

    units   what was drawn and counted: "rows" or "groups"
    """
    facts = {
        "floor": 100 * found.floor,
        "floor_text": f"{floor.removesuffix('%')} % of the parent's" if floor.endswith("%") else f"{floor} points",
        "loss": 100 * found.loss,
        "upper": 100 * found.upper,
        "n": found.n,
        "units": units,
        "passed": found.passed,
        "method": f"{found.test if found.worse is not None else f'{found.test} over {units}'}, one-sided 95 %",
    }
    if found.worse is not None:
        facts |= {"worse": found.worse, "better": found.better}
    if not found.passed:
        facts["missed_by"] = 100 * (found.upper - found.floor)
    return {**facts, **more}
