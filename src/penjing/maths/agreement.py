"""How often a child may answer otherwise than its parent, where the parent's answers stand for the truth.

Then no answer can get better, and the number of those that differ is binomial: the bound is exact, where that of Tango in `proof`, made
for answers that change in both directions, would be at its worst.

Letters   n rows, d rows on which the two differ, f the greatest share of them that is accepted
"""

import math

from penjing.maths.proof import LEVEL, Verdict, loss_spread


def judge_agreement(differ: int, n: int, floor: float, level: float = LEVEL) -> Verdict:
    """The verdict on n rows of which `differ` are answered otherwise; the loss is their share.

    Source: Clopper and Pearson 1934, as scipy has it.
    """
    from scipy.stats import binomtest  # 0.3 s

    upper = float(binomtest(differ, n, alternative="less").proportion_ci(level, method="exact").high)
    return Verdict(differ / n, upper, floor, n, float(loss_spread(differ, 0, n)), differ, 0, "exact binomial bound")


def rows_at_full_agreement(floor: float, level: float = LEVEL) -> int:
    """Fewest rows on which a child that always agrees passes: (1 - f)^n <= 1 - level."""
    return math.ceil(math.log(1 - level) / math.log1p(-floor))


def rows_needed_for_agreement(floor: float, expected: float, power: float, level: float = LEVEL) -> int:
    """Fewest rows with which the test passes with at least `power` where the share of answers that differ is truly `expected`.

    For each number d of differing rows the fewest n that still pass is where binomial(n, f) has at most 1 - level at or below d; the
    first d that a child of `expected` stays at or below often enough decides. Between these n the power falls, so it holds at this n and
    at the like n of every larger d.
    """
    from scipy.stats import binom  # 0.3 s

    d, n = 0, rows_at_full_agreement(floor, level)
    while binom.cdf(d, n, expected) < power:
        d += 1
        while binom.cdf(d, n, floor) > 1 - level:
            n += 1
    return n
