"""How sure a measured number is: intervals for a share, and for any score by resampling its rows.

A unit is what is drawn at once: a row, or a group of rows (document, speaker) where rows come in groups.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

Score = Callable[[np.ndarray], float]
"""A metric over the rows whose indices it is given, (m,) int64, each maybe several times; pure."""
Scores = Score | Callable[[np.ndarray], Sequence[float]]
"""One metric, or several at once."""

RESAMPLES = 2000  # the 95 % quantile of a bootstrap then strays by about a twentieth of the standard error


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval for a share that was seen `successes` times in `n`; (0, 1) where n is 0.

    Source: Wilson 1927, as scipy has it.
    """
    if n == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest  # 0.3 s, which a training does not have before its first step

    interval = binomtest(int(successes), int(n)).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def bootstrap(
    score: Scores, n: int, *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> tuple[Any, Any]:
    """Two-sided percentile interval of `score` over n rows; rows of one group are drawn together. Of several metrics: lists of ends.

    Raises ValueError where there are fewer than two units to draw.

    Source: Efron and Tibshirani 1993, chapter 13; groups as Davison and Hinkley 1997, section 3.8.
    """
    draws = resample(score, n, resamples=resamples, seed=seed, groups=groups)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low.tolist(), high.tolist()


def resample(score: Scores, n: int, *, resamples: int = RESAMPLES, seed: int = 0, groups: Sequence[Hashable] | None = None) -> np.ndarray:
    """(resamples,) scores of as many units drawn with replacement, (resamples, k) of k metrics; equal seeds and groups draw equal rows.

    groups    (n,) the name of each row's group; None: every row is its own unit

    A loop and not scipy.stats.bootstrap: scores are Python functions of index arrays, and units differ in length.

    Raises ValueError where there are fewer than two units to draw.
    """
    members = None if groups is None else _members(n, groups)
    num_units = n if members is None else len(members)
    if num_units < 2:
        raise ValueError(f"{num_units} unit cannot be resampled: an interval needs at least 2 rows or groups")
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        picks = rng.integers(num_units, size=num_units)
        draws.append(score(picks if members is None else np.concatenate([members[unit] for unit in picks])))
    return np.array(draws)


def _members(n: int, groups: Sequence[Hashable]) -> list[np.ndarray]:
    """The row indices of each group, groups in the order of their first row."""
    if len(groups) != n:
        raise ValueError(f"{len(groups)} group names for {n} rows")
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return [np.array(found) for found in rows.values()]
