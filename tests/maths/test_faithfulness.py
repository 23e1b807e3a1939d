"""Curves, gaps and ranks against closed forms of a model that only adds up, and against scipy."""

import numpy
import pytest
from scipy.stats import spearmanr

from penjing.maths.faithfulness import completeness_gap, faithfulness, overlap, rank_correlation

WEIGHTS = numpy.array([3.0, -1.0, 0.5, 2.0, 0.0, 4.0])


def adds_up(there):
    return there @ WEIGHTS


def test_of_a_sum_the_curves_are_partial_sums_of_the_sorted_weights():
    found = faithfulness(adds_up, WEIGHTS)
    ordered = -numpy.sort(-WEIGHTS)
    numpy.testing.assert_allclose(found.insertion, [0, *ordered.cumsum()])
    numpy.testing.assert_allclose(found.deletion, WEIGHTS.sum() - numpy.array([0, *ordered.cumsum()]))
    numpy.testing.assert_allclose(found.shares, numpy.arange(7) / 6)


def test_the_gain_is_the_area_between_deletion_and_random_orders():
    """In the mean over all orders a sum falls evenly, so that the area below it is half the whole."""
    found = faithfulness(adds_up, WEIGHTS, orders=4000)
    area, width = numpy.trapezoid(found.deletion, found.shares), numpy.ptp([*found.random, found.deletion, found.insertion])
    assert found.gain == pytest.approx((WEIGHTS.sum() / 2 - area) / width, abs=0.01) and found.beaten > 0.99


def test_scores_the_wrong_way_round_beat_no_order_and_noise_about_half():
    assert faithfulness(adds_up, -WEIGHTS).gain < 0 and faithfulness(adds_up, -WEIGHTS).beaten == 0
    draw = numpy.random.default_rng(0)
    gains = [faithfulness(adds_up, draw.normal(size=6), seed=i, orders=50).gain for i in range(200)]
    assert numpy.mean(gains) == pytest.approx(0, abs=0.05)


def test_many_units_are_asked_about_in_few_steps():
    asked = []

    def answer(there):
        asked.append(len(there))
        return there.sum(1).astype(float)

    found = faithfulness(answer, numpy.arange(1000.0), steps=16, orders=10)
    assert len(found.shares) == 17 and sum(asked) == 17 * 12


def test_an_answer_that_nothing_changes_gives_no_gain():
    assert faithfulness(lambda there: numpy.ones(len(there)), WEIGHTS).gain == 0


def test_the_gap_is_what_scores_miss_of_the_change():
    assert completeness_gap(WEIGHTS, WEIGHTS.sum() + 1, 1.0) == 0
    assert completeness_gap(WEIGHTS, WEIGHTS.sum() + 2, 0.0) == pytest.approx(2 / numpy.abs(WEIGHTS).sum())


def test_ranks_agree_as_scipy_has_it_and_tops_are_counted():
    draw = numpy.random.default_rng(0)
    first, second = draw.integers(0, 5, 30).astype(float), draw.normal(size=30)
    assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second).statistic)
    assert rank_correlation(numpy.ones(5), first[:5]) == 0
    assert overlap(numpy.array([3.0, 2, 1, 0]), numpy.array([3.0, 0, 2, 1]), 2) == 0.5
