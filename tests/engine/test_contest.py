"""Which engine wins: by hand-made figures, where the sign test is a sum of binomials."""

import pytest

from penjing.core.report import Measure
from penjing.engine.contest import judge


def entry(name, milliseconds):
    return {"engine": name, "latency_ms": Measure(milliseconds, "ms")}


def statuses(entries, changed):
    return [each["status"] for each in judge(entries, changed)]


def marks(*numbers):
    """20 rows of which these changed."""
    return [i in numbers for i in range(20)]


def test_the_fastest_wins_where_flips_are_alike():
    assert statuses([entry("a", 2.0), entry("b", 1.0)], [marks(1, 2), marks(3, 4, 5)]) == ["slower", "chosen"]


@pytest.mark.parametrize(("flips", "status"), [(4, "chosen"), (5, "flips more")])
def test_flips_beyond_chance_exclude_the_fastest(flips, status):
    """Against none: 4 happen by chance with 1 / 2**4 = 6 %, 5 with 3 %."""
    assert statuses([entry("a", 2.0), entry("b", 1.0)], [marks(), marks(*range(flips))])[1] == status


def test_rows_that_both_change_say_nothing():
    assert statuses([entry("a", 2.0), entry("b", 1.0)], [marks(*range(10)), marks(*range(12))]) == ["slower", "chosen"]


def test_an_only_one_wins():
    assert statuses([entry("a", 2.0)], [marks(*range(20))]) == ["chosen"]
