"""Intervals against statsmodels, and the bootstrap against the theory of means and of clusters."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from penjing.maths.intervals import bootstrap, resample, wilson


@pytest.mark.parametrize(("successes", "n", "level"), [(0, 20, 0.95), (7, 20, 0.95), (20, 20, 0.95), (812, 1000, 0.9)])
def test_wilson_agrees_with_statsmodels(successes, n, level):
    assert wilson(successes, n, level) == pytest.approx(proportion_confint(successes, n, 1 - level, "wilson"), abs=1e-12)


def test_wilson_of_no_rows_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_bootstrap_of_a_mean_is_the_normal_interval_of_that_mean():
    values = np.random.default_rng(0).normal(size=400)
    half = 1.959964 * values.std() / 20
    low, high = bootstrap(lambda rows: values[rows].mean(), 400, resamples=4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_bootstrap_by_groups_of_identical_rows_is_as_wide_as_that_of_the_groups_alone():
    """Ten copies of each of 60 rows tell no more than the 60 rows; drawn row by row they would look sqrt(10) surer."""
    values = np.random.default_rng(1).normal(size=60)
    rows, names = np.repeat(values, 10), np.repeat([f"speaker {i}" for i in range(60)], 10)
    low, high = bootstrap(lambda picks: rows[picks].mean(), 600, groups=list(names))
    assert high - low == pytest.approx(2 * 1.959964 * values.std() / np.sqrt(60), rel=0.06)
    low, high = bootstrap(lambda picks: rows[picks].mean(), 600)
    assert high - low == pytest.approx(2 * 1.959964 * values.std() / np.sqrt(600), rel=0.06)


def test_groups_of_different_length_stay_whole():
    groups = ["a", "b", "a", "c", "b", "a"]
    seen = []
    resample(lambda rows: seen.append(sorted(rows.tolist())) or 0.0, 6, resamples=50, groups=groups)
    for rows in seen:
        assert rows.count(0) == rows.count(2) == rows.count(5) and rows.count(1) == rows.count(4)
        assert rows.count(0) + rows.count(1) + rows.count(3) == 3


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(2).random(50)
    again = [bootstrap(lambda rows: values[rows].mean(), 50, resamples=100, seed=seed) for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


@pytest.mark.parametrize(("n", "groups"), [(1, None), (4, ["a"] * 4)])
def test_one_unit_cannot_be_resampled(n, groups):
    with pytest.raises(ValueError, match="1 unit cannot be resampled"):
        bootstrap(lambda rows: 0.0, n, groups=groups)


def test_group_names_must_match_the_rows():
    with pytest.raises(ValueError, match="2 group names for 3 rows"):
        bootstrap(lambda rows: 0.0, 3, groups=["a", "b"])
