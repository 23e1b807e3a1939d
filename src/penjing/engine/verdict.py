"""From predictions and a floor to a verdict: which of the two tests a task's primary metric calls for."""

from collections.abc import Sequence
from typing import Any

from penjing.core.contracts import Prediction, Task
from penjing.core.examples import Examples
from penjing.maths.flips import discordant
from penjing.maths.proof import Verdict, judge, judge_by_bootstrap


def floor_share(floor: str, parent_value: float) -> float:
    """A floor as users write it, points ("1.0") or a share of the parent's ("3%"), as a loss in [0, 1]."""
    number = float(floor.removesuffix("%")) / 100
    return number * parent_value if floor.endswith("%") else number


def verdict(task: Task, rows: Examples, parent: Sequence[Prediction], child: Sequence[Prediction], floor: float, seed: int) -> Verdict:
    """Tango's score test where the metric is a mean over rows that are right or wrong, a paired bootstrap otherwise."""
    was, now = task.per_row(parent, rows), task.per_row(child, rows)
    if was is not None and now is not None and {*was, *now} <= {0.0, 1.0}:
        return judge(*discordant(was, now), len(rows), floor)
    listed = list(rows)

    def score(said: Sequence[Prediction]) -> Any:
        return lambda chosen: task.score([said[i] for i in chosen], [listed[i] for i in chosen])[task.primary]

    return judge_by_bootstrap(score(parent), score(child), len(rows), floor, seed=seed)


def proof_facts(found: Verdict, floor: str, **more: Any) -> dict[str, Any]:
    """A verdict as reports hold it; losses and bounds in points of the metric."""
    facts = {
        "floor": 100 * found.floor,
        "floor_text": f"{floor.removesuffix('%')} % of the parent's" if floor.endswith("%") else f"{floor} points",
        "loss": 100 * found.loss,
        "upper": 100 * found.upper,
        "n": found.n,
        "passed": found.passed,
        "method": ("Tango score test" if found.worse is not None else "paired bootstrap") + ", one-sided 95 %",
    }
    if found.worse is not None:
        facts |= {"worse": found.worse, "better": found.better}
    if not found.passed:
        facts["missed_by"] = 100 * (found.upper - found.floor)
    return {**facts, **more}
