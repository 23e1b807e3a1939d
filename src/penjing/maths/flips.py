"""How often two models answer differently on the same rows, and for which of them that is the worse."""

from collections.abc import Sequence
from typing import Any

from penjing.core.report import Measure
from penjing.maths.intervals import wilson


def flips(parent: Sequence[Any], child: Sequence[Any]) -> Measure:
    """Share of rows whose answer changed, right or wrong, with its Wilson interval.

    parent, child   (n,) answers to the same rows; whatever compares with ==, a list of tags too
    """
    changed = sum(was != now for was, now in zip(parent, child, strict=True))
    low, high = wilson(changed, len(parent))
    return Measure(changed / max(len(parent), 1), "share", low, high, len(parent), better="lower")


def sign_test(first: Sequence[float], second: Sequence[float]) -> float:
    """Chance of so many more rows that only `first` marks, if both were equally likely to mark a row that the other does not.

    first, second   (n,) of 0 and 1, for the same rows; one-sided, exact
    """
    from scipy.stats import binomtest  # 0.3 s

    pairs = list(zip(first, second, strict=True))
    alone, other = sum(a > b for a, b in pairs), sum(b > a for a, b in pairs)
    return float(binomtest(alone, alone + other, alternative="greater").pvalue) if alone + other else 1.0


def discordant(parent: Sequence[float], child: Sequence[float]) -> tuple[int, int]:
    """(worse, better): rows that only the parent has right, rows that only the child has right.

    parent, child   (n,) of 0 and 1, one for each row

    Raises ValueError where a row is neither right nor wrong: such a metric is proven by bootstrap.
    """
    other = {*parent, *child} - {0, 1}
    if other:
        raise ValueError(f"a row scored {min(other)}, neither 0 nor 1: prove this metric by bootstrap")
    pairs = list(zip(parent, child, strict=True))
    return sum(was > now for was, now in pairs), sum(was < now for was, now in pairs)
