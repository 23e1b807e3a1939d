"""From the answers of a cross-fit to an interval: two-sided, since it tells how large a loss is and decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from penjing.core.contracts import Prediction, Task
from penjing.core.examples import Examples
from penjing.engine.measure import quality
from penjing.engine.verdict import primary
from penjing.maths.flips import discordant
from penjing.maths.intervals import bootstrap
from penjing.maths.proof import tango_upper

ONE_SIDED = 0.975  # two such ends make a 95 % interval


def estimated(task: Task, rows: Examples, answers: Mapping[str, Sequence[Prediction]], rounds: int, seed: int) -> dict[str, Any]:
    """Facts of a report: the primary measure of each, and the loss of the child in points where there is a parent.

    answers   of "child", "parent" and "baseline" to `rows`, each by a model that has not seen its row; only the child must be there
    """
    facts: dict[str, Any] = {"rounds": rounds, "n": len(rows), "units": "groups" if rows.grouped else "rows"}
    facts |= {name: quality(task, said, rows, seed)[task.primary] for name, said in answers.items()}
    if "parent" not in answers:
        return facts
    parent, child, listed, groups = answers["parent"], answers["child"], list(rows), rows.groups()
    was, now = task.per_row(parent, listed), task.per_row(child, listed)
    if groups is None and was is not None and now is not None and {*was, *now} <= {0.0, 1.0}:
        worse, better = discordant(was, now)
        low = -float(tango_upper(better, worse, len(rows), ONE_SIDED))
        high = float(tango_upper(worse, better, len(rows), ONE_SIDED))
    else:
        before, after = (primary(task, said, listed) for said in (parent, child))
        low, high = bootstrap(lambda drawn: before(drawn) - after(drawn), len(rows), seed=seed, groups=groups)
    loss = facts["parent"].value - facts["child"].value
    return facts | {"loss": 100 * loss, "low": 100 * low, "high": 100 * high}
