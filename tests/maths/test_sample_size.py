"""Rows told before training, against sums over every outcome, random draws and the closed form without flips."""

import math
import time

import numpy as np
import pytest
from scipy.stats import multinomial

from penjing.core.errors import OptionError
from penjing.maths.proof import judge, tango_upper
from penjing.maths.sample_size import power_at, rows_at_zero_flips, rows_needed, rows_needed_by_spread

SETTINGS = [(floor, flips) for floor in (0.01, 0.02, 0.03) for flips in (0.01, 0.03, 0.06, 0.12)]


@pytest.mark.parametrize("floor", [0.001, 0.005, 0.01, 0.02, 0.03, 0.1, 0.5])
def test_without_flips_the_told_rows_pass_and_one_row_fewer_does_not(floor):
    n = rows_at_zero_flips(floor)
    assert tango_upper(0, 0, n) <= floor < tango_upper(0, 0, n - 1)


@pytest.mark.parametrize(
    ("n", "floor", "flips", "loss"),
    [(40, 0.1, 0.2, 0.0), (40, 0.1, 0.2, 0.1), (60, 0.08, 0.05, 0.05), (60, 0.3, 0.4, -0.1), (30, 0.3, 0.0, 0.0), (25, 0.2, 1.0, 0.1)],
)
def test_power_is_the_sum_over_every_outcome_of_the_trinomial(n, floor, flips, loss):
    worse, better = (x.ravel() for x in np.meshgrid(np.arange(n + 1), np.arange(n + 1)))
    worse, better = worse[worse + better <= n], better[worse + better <= n]
    shares = [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
    probability = multinomial.pmf(np.stack([worse, better, n - worse - better], 1), n, shares)
    assert power_at(n, floor, flips, loss) == pytest.approx(probability @ (tango_upper(worse, better, n) <= floor), abs=1e-9)


def test_power_on_many_rows_agrees_with_random_draws():
    draws = np.random.default_rng(0).multinomial(3000, [0.03, 0.025, 0.945], size=40_000)
    share = (tango_upper(draws[:, 0], draws[:, 1], 3000) <= 0.01).mean()
    assert power_at(3000, 0.01, 0.055, 0.005) == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 40_000))


@pytest.mark.parametrize(("floor", "flips"), SETTINGS)
def test_power_holds_from_the_told_rows_on_and_not_just_before(floor, flips):
    n = rows_needed(floor, flips)
    assert all(power_at(m, floor, flips) >= 0.80 for m in range(n, n + round(4 / floor), 3))
    assert power_at(n - 1, floor, flips) < 0.80 or n == rows_at_zero_flips(floor)


@pytest.mark.parametrize("floor", [0.01, 0.02, 0.03])
@pytest.mark.parametrize("flips_per_floor", [1.0, 1.5, 3.0, 6.0])
def test_a_true_loss_of_the_floor_passes_no_more_often_than_promised(floor, flips_per_floor):
    """Exact sums; nominally 5 %. From the told rows on at most 6 %; on fewer rows 5.5 %, but for the one corner where no
    row at all gets better: there zero flips on the fewest rows have probability (1 - floor)^n = 6.8 %."""
    told = rows_needed(floor, flips_per_floor * floor)
    size = {n: power_at(n, floor, flips_per_floor * floor, loss=floor) for n in range(rows_at_zero_flips(floor), 2 * told, 11)}
    assert max(size[n] for n in size if n >= told) <= 0.06
    assert max(size.values()) <= (0.07 if flips_per_floor == 1 else 0.055)


def test_told_rows_are_near_the_normal_approximation_where_that_is_good():
    """(z_0.95 + z_0.80)^2 flips / floor^2, for many flips."""
    assert rows_needed(0.01, 0.12) == pytest.approx(6.1826 * 0.12 / 0.01**2, rel=0.01)


def test_without_expected_flips_the_told_rows_are_those_of_zero_flips():
    assert rows_needed(0.02, 0.0) == rows_at_zero_flips(0.02)


@pytest.mark.parametrize(("floor", "flips"), [(0.01, 0.12), (0.005, 0.06), (0.001, 0.12)])
def test_told_rows_are_quick_to_tell(floor, flips):
    start = time.perf_counter()
    rows_needed(floor, flips)
    assert time.perf_counter() - start < 1.0


def test_rows_by_spread_ask_the_same_of_a_metric_that_is_a_mean_of_right_and_wrong():
    tuning = judge(60, 60, 1000, floor=0.02)
    assert rows_needed_by_spread(0.02, tuning.spread, tuning.n) == pytest.approx(rows_needed(0.02, 0.12), rel=0.02)
    assert rows_needed_by_spread(0.02, 1e-9, 1000) == rows_at_zero_flips(0.02)


@pytest.mark.parametrize("floor", [0.0, -0.01, 1.0, math.nan])
def test_a_floor_of_nothing_cannot_be_proven(floor):
    for ask in (rows_at_zero_flips, lambda f: rows_needed(f, 0.05), lambda f: rows_needed_by_spread(f, 0.01, 100)):
        with pytest.raises(OptionError, match="cannot be proven") as caught:
            ask(floor)
        assert "--floor 1.0" in caught.value.fix and "above 0 and below 1" in caught.value.wanted
