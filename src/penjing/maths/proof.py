"""Shrunk with proof: is a child not worse than its parent by more than a floor, and which child to prove.

Paired non-inferiority, one-sided at `level`. The loss is parent minus child in the primary metric, as a share in
[0, 1]; the floor is the greatest loss the user accepts. Rows that are right or wrong go through Tango's score
interval, any other metric through a paired bootstrap; both end in a Verdict, and the choice among candidates reads
nothing else.

    judge on tuning rows -> screen (who is tried, in which order) -> prove on proof rows, stop at the first failure

Tango 1998, Statistics in Medicine 17:891; by exact sums a loss of just the floor passes in 4 to 5.5 % of
cases, in 6.8 % in the worst corner (no row ever gets better, and hardly more rows than zero flips need). Rows that come in groups
are no rows to Tango: with groups of 8 to 20 whose rows share a third to a tenth of their variance it passes 16 to 20 %, where a
bootstrap over groups passes 0 to 4 % (400 draws each, 2026-11-22); of R², also with heavy tails, it passes 1.5 to 4.5 %.
A fixed sequence spends the full level on each: Maurer, Hothorn, Lehmacher 1995; Wiens 2003, Pharmaceutical
Statistics 2:211. It holds because the order comes from tuning rows only.

Letters   n rows, b `worse` (only the parent is right), c `better` (only the child is right)
"""

import math
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from penjing.maths.intervals import RESAMPLES, Score, resample

LEVEL = 0.95
CLOSE = 0.05  # chances that differ by less are no evidence of an order: tuning rows move a chance by more than that
SMALL = 0.10  # a candidate with less chance than this is not worth opening the proof rows for

Item = TypeVar("Item")


class Verdict(NamedTuple):
    """What rows say of one candidate.

    loss            parent minus child, in the metric's own units
    upper           one-sided upper bound of the loss
    floor           the greatest loss accepted
    n               rows, or groups where rows come in groups
    spread          standard error of the loss, as if one more row had flipped: never 0
    worse, better   paired counts b and c; None where the metric is no mean of right and wrong
    test            where the bound comes from
    """

    loss: float
    upper: float
    floor: float
    n: int
    spread: float
    worse: int | None = None
    better: int | None = None
    test: str = "Tango score test"

    @property
    def passed(self) -> bool:
        """Whether the loss is proven to be within the floor."""
        return self.upper <= self.floor


class Proof(NamedTuple, Generic[Item]):
    """Where a fixed sequence ended.

    proven     the last item that passed: the smallest one, in the order of `screen`; None where the first failed
    verdicts   (item, verdict) of those whose turn came
    """

    proven: Item | None
    verdicts: list[tuple[Item, Verdict]]


def tango_upper(worse: ArrayLike, better: ArrayLike, n: ArrayLike, level: float = LEVEL) -> np.ndarray:
    """One-sided upper bound of (b - c) / n, elementwise over arrays that broadcast.

    The other end is -tango_upper(better, worse, n); at `level` 0.975 the two are the usual 95 % interval.

    Source: Tango 1998, solved by halving the bracket where he uses the secant method.
    """
    b, c, n = np.broadcast_arrays(np.asarray(worse, float), np.asarray(better, float), np.asarray(n, float))
    low, high = (b - c) / n, np.ones(n.shape)
    for _ in range(53):  # bits of a double's fraction
        middle = (low + high) / 2
        clear = tango_clearance(b, c, n, middle, level) >= 0
        low, high = np.where(clear, low, middle), np.where(clear, middle, high)
    return high


def tango_clearance(worse: ArrayLike, better: ArrayLike, n: ArrayLike, floor: ArrayLike, level: float = LEVEL) -> np.ndarray:
    """Rows by which b - c stays below what the score test of a loss of `floor` allows; at least 0 where it passes.

    floor    in (-1, 1]; rising in it, falling in b, so that it decides without the bound being solved for

    Source: Tango 1998; the share of c is its maximum likelihood estimate under a loss of `floor`.
    """
    b, c, n, floor = (np.asarray(x, float) for x in (worse, better, n, floor))
    linear = (2 * n - b + c) * floor - b - c
    twice_c = (np.sqrt(np.maximum(linear**2 + 8 * n * c * floor * (1 - floor), 0)) - linear) / (2 * n)
    spread = np.sqrt(np.maximum(n * (twice_c + floor * (1 - floor)), 0))
    return n * floor - (b - c) - ndtri(level) * spread


def judge(worse: int, better: int, n: int, floor: float, level: float = LEVEL) -> Verdict:
    """The verdict on rows that are right or wrong; counts as `flips.discordant` gives them."""
    upper = float(tango_upper(worse, better, n, level))
    return Verdict((worse - better) / n, upper, floor, n, float(loss_spread(worse, better, n)), worse, better)


def loss_spread(worse: ArrayLike, better: ArrayLike, n: ArrayLike) -> np.ndarray:
    """Standard error of (b - c) / n, elementwise.

    Source: Agresti and Min 2005, Statistics in Medicine 24:729: half a row is added to each of the four cells.
    """
    b, c, n = np.asarray(worse) + 0.5, np.asarray(better) + 0.5, np.asarray(n) + 2.0
    return np.sqrt((b + c) / n - ((b - c) / n) ** 2) / np.sqrt(n)


def judge_by_bootstrap(
    parent: Score, child: Score, n: int, floor: float, *,
    resamples: int = RESAMPLES, seed: int = 0, groups: Sequence[Hashable] | None = None, at_stake: float = 1.0,
) -> Verdict:  # fmt: skip
    """The verdict on any metric in [0, 1]: both scores on the same draws of rows, rows of one group together.

    parent, child   score of the row indices given; higher is better
    groups          (n,) the name of each row's group; the verdict's n then counts groups
    at_stake        n times what of the metric can be lost on one row: less than 1 where a row has many answers, of which the parent has
                    a part

    A bootstrap does not see what has not happened: its quantile alone passed 6 to 12 % where 5 % was promised and few
    rows had flipped. So the bound is the greatest of that quantile, of the normal bound with half a row's continuity
    and one more flip than was seen (together 4 to 6 %), and of Tango's bound without flips. Where rows come in groups,
    "a row" is as many rows as the groups are seen to move together. A row can lose what is at stake on it: of texts of
    100 to 700 tokens, of which some lose all that was right, it passes up to 6 % where that is what 95 of 100 have.
    """

    def lost(rows: np.ndarray) -> float:
        return float(parent(rows)) - float(child(rows))

    draws = resample(lost, n, resamples=resamples, seed=seed, groups=groups)
    num_units = n if groups is None else len(set(groups))
    independent = float(n)
    if groups is not None:  # Kish's effective sample size: rows over the ratio of the two variances
        by_row = resample(lost, n, resamples=resamples, seed=seed)
        independent = float(np.clip(n * by_row.var() / draws.var(), num_units, n)) if draws.var() else num_units
    flip = at_stake / independent
    spread = math.hypot(float(draws.std()), flip)
    loss = lost(np.arange(n))
    bounds = (
        float(np.quantile(draws, LEVEL)),
        loss + 0.5 * flip + float(ndtri(LEVEL)) * spread,
        at_stake * float(tango_upper(0, 0, num_units)),
    )
    return Verdict(loss, max(bounds), floor, num_units, spread, test="paired bootstrap")


def chance(verdict: Verdict, num_proof: int, level: float = LEVEL) -> float:
    """How likely a candidate judged on tuning rows is to pass on `num_proof` other rows (or groups).

    Normal and predictive: the loss may stray on both sets of rows, so that few tuning rows pull it towards a half.
    """
    proof_spread = verdict.spread * math.sqrt(verdict.n / num_proof)
    room = verdict.floor - verdict.loss - ndtri(level) * proof_spread
    return float(ndtr(room / math.hypot(verdict.spread, proof_spread)))


def screen(verdicts: Sequence[Verdict], costs: Sequence[float], num_proof: int, level: float = LEVEL) -> list[int]:
    """Which candidates go to the proof rows, and in which order: their indices.

    verdicts    on tuning rows, against the same floor
    costs       of each candidate, as bytes, milliseconds or what is wanted low
    num_proof   rows (or groups) that the proof will have

    From the most likely to pass to the least. Candidates within CLOSE of the most likely one left are equal in that,
    and the costliest of them comes first. Each finalist costs less than all before it: a costlier one would have its
    turn only after a smaller one is proven. Less than SMALL chance is not tried, but for the most likely one.
    """
    chances = [chance(verdict, num_proof, level) for verdict in verdicts]
    left = sorted(range(len(chances)), key=lambda i: (-chances[i], costs[i]))
    left = left[:1] + [i for i in left[1:] if chances[i] >= SMALL]
    sequence: list[int] = []
    while left:
        equal = [i for i in left if chances[i] > chances[left[0]] - CLOSE]
        left = left[len(equal) :]
        for i in sorted(equal, key=lambda i: (-costs[i], -chances[i])):
            if not sequence or costs[i] < costs[sequence[-1]]:
                sequence.append(i)
    return sequence


def prove(sequence: Sequence[Item], measure: Callable[[Item], Verdict]) -> Proof[Item]:
    """Walk a fixed sequence, each at the full level, up to the first failure.

    measure   judges an item on the proof rows; called only when its turn comes
    """
    proven, verdicts = None, []
    for item in sequence:
        verdict = measure(item)
        verdicts.append((item, verdict))
        if not verdict.passed:
            break
        proven = item
    return Proof(proven, verdicts)
