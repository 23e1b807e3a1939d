"""Whether a floor can be proven with the rows there are, and how many a good child will need: said before anything is trained."""

from typing import Any

from penjing.core.contracts import Prediction
from penjing.core.errors import DataError, ModelError
from penjing.core.progress import say
from penjing.engine.measure import quality
from penjing.engine.verdict import floor_share, primary
from penjing.maths.agreement import rows_at_full_agreement, rows_needed_for_agreement
from penjing.maths.intervals import resample
from penjing.maths.sample_size import TOLD_POWER, rows_at_zero_flips, rows_needed, rows_needed_by_spread
from penjing.stages._search import Search


def provable(search: Search) -> tuple[float, dict[str, Any]]:
    """The floor as a loss in [0, 1], and what the user is told before anything is trained."""
    task, tune, num_proof = search.task, search.data.role("tune"), search.data.role("proof").units
    units = "groups" if tune.grouped else "rows"
    found = quality(task, search.tuned, tune, search.runtime.seed)[task.primary]
    floor = floor_share(search.options.floor, found.value)
    if search.options.folds:
        return floor, {}
    stake = task.at_stake(search.tuned, tune.only(task.target_columns))
    least = rows_at_full_agreement(floor) if search.options.floor_agreement else rows_at_zero_flips(floor, at_stake=stake)
    if num_proof < least:
        raise DataError(
            f"{search.data.examples.name}: a floor of {search.options.floor} cannot be proven with {num_proof} proof {units}, "
            "even if no answer changed",
            wanted=f"at least {least} proof {units}",
            fix="pass more rows or a wider floor, or --folds 5 for an interval that proves nothing but is honest",
        )
    targets = tune.only(task.target_columns)
    usual = task.usual(targets)
    always = None if usual is None else task.score([Prediction(usual)] * len(tune), targets)[task.primary]
    if always is not None and (found.value if found.high is None else found.high) < always:
        raise ModelError(
            f"{search.base}: its {task.primary} on the tune rows is {found.value:.1%}, that of always saying {usual!r} {always:.1%}",
            wanted="a parent that is better than chance",
            fix="penjing finetune it first",
        )
    needed, because = expected(search, found.value, floor)
    enough = "enough" if needed <= num_proof else "fewer than that: a good child may fail by bad luck"
    say(
        f"a floor of {search.options.floor} at {because} needs {needed:,} proof {units} for 80 % power; there are {num_proof:,}, {enough}",
        search.runtime.quiet,
    )
    return floor, {"rows_at_least": least, "rows_needed": needed, "expected": because}


def expected(search: Search, value: float, floor: float) -> tuple[int, str]:
    """Proof rows (or groups) that a good child will need, and from what that was told.

    A child errs about as often as its parent, on rows that are partly the same: so as many answers flip as the parent has errors, or,
    which is the same for a metric that is no mean of right and wrong, the loss strays as much as the parent's own measure does. Where the
    parent's answers stand for the truth, a good child differs on half as many rows as it may.
    """
    task, tune = search.task, search.data.role("tune")
    listed, groups = tune.only(task.target_columns), tune.groups()
    if task.per_row(search.tuned, listed) is not None and groups is None:
        if search.options.floor_agreement:
            return rows_needed_for_agreement(floor, floor / 2, TOLD_POWER), f"{floor / 2:.1%} of answers that differ"
        flips = max(1 - value, 1 / len(tune))
        return rows_needed(floor, flips, TOLD_POWER), f"{flips:.1%} flips"
    spread = float(resample(primary(task, search.tuned, listed), len(tune), seed=search.runtime.seed, groups=groups).std())
    needed = rows_needed_by_spread(floor, spread, tune.units, TOLD_POWER, at_stake=task.at_stake(search.tuned, listed))
    return needed, f"a standard error of {100 * spread:.2g} points on {tune.units:,} tune {'groups' if groups else 'rows'}"
