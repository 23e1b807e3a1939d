"""Flips and paired counts against counts done by hand and statsmodels' Wilson interval."""

import pytest
from statsmodels.stats.proportion import proportion_confint

from penjing.maths.flips import discordant, flips, sign_test


def test_flips_count_changed_answers_of_any_kind():
    measure = flips(["a", ["B", "I"], 3, 0.5], ["a", ["B", "O"], 3, 0.25])
    assert (measure.value, measure.n, measure.better) == (0.5, 4, "lower")
    assert (measure.low, measure.high) == pytest.approx(proportion_confint(2, 4, method="wilson"))


def test_flips_of_no_rows_are_none_and_unknown():
    assert (flips([], []).value, flips([], []).low, flips([], []).high) == (0.0, 0.0, 1.0)


def test_discordant_rows_are_told_apart_by_who_is_right():
    assert discordant([1, 1, 1, 0, 0, 1.0], [1, 0, 0, 1, 0, True]) == (2, 1)


def test_rows_that_are_neither_right_nor_wrong_have_no_paired_counts():
    with pytest.raises(ValueError, match=r"a row scored 0\.5"):
        discordant([1, 0.5], [1, 1])


def test_answers_to_different_rows_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        discordant([1, 0], [1])
    with pytest.raises(ValueError, match="shorter"):
        flips([1, 0], [1])


def test_the_sign_test_sums_binomials_of_the_rows_that_only_one_marks():
    """3 against 1 of 4 rows: (4 + 1) / 2**4; a row that both mark counts for neither."""
    first, second = [True, True, True, False, True, False], [False, False, False, True, True, False]
    assert sign_test(first, second) == pytest.approx(5 / 16)
    assert sign_test(second, first) == pytest.approx(15 / 16)
    assert sign_test(first, first) == 1.0
