"""The exact bound against the binomial distribution that it is the bound of."""

import numpy
import pytest
from scipy.stats import beta, binom

from penjing.maths.agreement import judge_agreement, rows_at_full_agreement, rows_needed_for_agreement


@pytest.mark.parametrize(("differ", "n"), [(0, 100), (3, 500), (40, 900)])
def test_the_bound_is_the_quantile_of_a_beta_distribution(differ, n):
    assert judge_agreement(differ, n, 0.02).upper == pytest.approx(beta.ppf(0.95, differ + 1, n - differ))


@pytest.mark.parametrize(("n", "floor"), [(150, 0.02), (300, 0.02), (1000, 0.01), (77, 0.05)])
def test_a_child_that_truly_differs_on_as_many_rows_as_the_floor_passes_in_5_of_100_cases_at_most(n, floor):
    passes = [judge_agreement(differ, n, floor).passed for differ in range(40)]
    assert binom.pmf(numpy.flatnonzero(passes), n, floor).sum() <= 0.05


@pytest.mark.parametrize("floor", [0.005, 0.02, 0.1])
def test_without_a_difference_just_so_many_rows_suffice(floor):
    least = rows_at_full_agreement(floor)
    assert judge_agreement(0, least, floor).passed and not judge_agreement(0, least - 1, floor).passed


@pytest.mark.parametrize(("floor", "expected"), [(0.02, 0.01), (0.05, 0.02), (0.02, 0.0)])
def test_with_the_rows_that_are_told_a_good_child_passes_as_often_as_is_told(floor, expected):
    n = rows_needed_for_agreement(floor, expected, 0.8)
    passes = [judge_agreement(differ, n, floor).passed for differ in range(n // 10)]
    assert binom.pmf(numpy.flatnonzero(passes), n, expected).sum() >= 0.8
    fewer = max(rows_at_full_agreement(floor), n - n // 5)
    passes = [judge_agreement(differ, fewer, floor).passed for differ in range(n // 10)]
    assert fewer == n or binom.pmf(numpy.flatnonzero(passes), fewer, expected).sum() < 0.8
