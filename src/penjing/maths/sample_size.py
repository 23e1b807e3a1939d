"""How many proof rows a floor needs, told before anything is trained.

Sums over all outcomes of n rows, no normal approximation: what is told is what Tango's test in `proof` does.

Letters   n rows, b rows that got worse, c rows that got better, d = b + c rows whose correctness flipped
"""

import math

import numpy as np
from scipy.special import ndtri
from scipy.stats import binom

from penjing.core.errors import OptionError
from penjing.maths.proof import LEVEL, tango_clearance

POWER = 0.80
TOLD_POWER = 0.83  # asked for where 80 % is promised: what the choice among several candidates costs
MOST_CHECKED = 200  # sample sizes looked at for a dip of the power; covers every one for floors from 1 point up
MANY_FLIPS = 1000  # the dips are about 0.12 / d deep (summed for d from 8 to 900): from here on below 0.0002


def rows_at_zero_flips(floor: float, level: float = LEVEL, at_stake: float = 1.0) -> int:
    """Fewest rows on which a child that answers exactly as its parent passes; below that nothing can be proven.

    Without flips Tango's bound is z² / (n + z²), of what is at stake on a row (`proof.judge_by_bootstrap`).

    Raises OptionError where the floor is not within (0, 1).
    """
    _check(floor)
    return max(1, math.ceil(ndtri(level) ** 2 * (at_stake / floor - 1)))


def power_at(n: int, floor: float, flip_share: float, loss: float = 0.0, level: float = LEVEL) -> float:
    """Exact probability that Tango's test passes on n rows.

    flip_share   true share of rows on which exactly one of the two models is right
    loss         true loss, at most `flip_share` in size; 0 splits the flips evenly, `floor` gives the test's size

    d is binomial(n, flip_share), and b given d binomial(d, (1 + loss / flip_share) / 2). For each d the test passes
    up to some b. Only d within 8 standard deviations counts: what is left out is below 1e-12.
    """
    mean, spread = n * flip_share, math.sqrt(n * flip_share * (1 - flip_share))
    first, last = max(0, math.floor(mean - 8 * spread - 10)), min(n, math.ceil(mean + 8 * spread + 10))
    flipped = np.arange(first, last + 1)
    worse_share = (1 + loss / flip_share) / 2 if flip_share else 0.5
    passes = binom.cdf(_most_worse(flipped, n, floor, level), flipped, worse_share)
    return float(binom.pmf(flipped, n, flip_share) @ passes)


def rows_needed(floor: float, flip_share: float, power: float = POWER, level: float = LEVEL) -> int:
    """Fewest rows from which on the test passes with at least `power` when nothing is truly lost.

    From there on: the power dips where the greatest b allowed lags behind n, about once in 1 / floor rows, so where few
    rows flip it must hold over the 2 / floor sizes that follow too.

    Raises OptionError where the floor is not within (0, 1).
    """
    low = rows_at_zero_flips(floor, level)
    enough = power_at(low, floor, flip_share, level=level) >= power
    n = low if enough else _crossing(low, floor, flip_share, power, level)
    window = math.ceil(2 / floor)
    step = max(1, window // MOST_CHECKED)
    while n * flip_share < MANY_FLIPS:
        dips = [k for k in range(1, window + 1, step) if power_at(n + k, floor, flip_share, level=level) < power]
        if not dips:
            break
        n += dips[-1] + 1
    return n


def rows_needed_by_spread(floor: float, spread: float, n: int, power: float = POWER, level: float = LEVEL, at_stake: float = 1.0) -> int:
    """The same for a metric proven by bootstrap: rows (or groups), from the spread of the loss seen on n of them.

    The spread shrinks with the root of the rows; the bound must lie within the floor with probability `power`.

    Raises OptionError where the floor is not within (0, 1).
    """
    needed = n * ((ndtri(level) + ndtri(power)) * spread / floor) ** 2 if floor > 0 else 0.0
    return max(rows_at_zero_flips(floor, level, at_stake), math.ceil(needed))


def _crossing(low: int, floor: float, flip_share: float, power: float, level: float) -> int:
    """Some n > low that reaches the power while n - 1 does not; at `low` it is not reached."""
    high = 2 * low
    while power_at(high, floor, flip_share, level=level) < power:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if power_at(middle, floor, flip_share, level=level) >= power:
            high = middle
        else:
            low = middle
    return high


def _most_worse(flipped: np.ndarray, n: int, floor: float, level: float) -> np.ndarray:
    """For each d the greatest b with which the test passes, -1 where none does; found by halving."""
    most, too_many = np.full(len(flipped), -1), flipped + 1
    while (too_many - most > 1).any():
        middle = (most + too_many) // 2
        clear = (tango_clearance(middle, flipped - middle, n, floor, level) >= 0) & (middle > most)
        most, too_many = np.where(clear, middle, most), np.where(clear | (middle == most), too_many, middle)
    return most


def _check(floor: float) -> None:
    if not 0 < floor < 1:
        raise OptionError(
            f"a floor of {floor:g} cannot be proven",
            wanted="a share above 0 and below 1: no number of rows shows that a loss is exactly nothing",
            fix="--floor 1.0 accepts a loss of one point",
        )
