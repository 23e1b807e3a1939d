"""The roofline against arithmetic done by hand, and its intervals against what they promise."""

import dataclasses

import numpy as np
import pytest

from penjing.core.tables import device
from penjing.maths import roofline
from penjing.maths.cost import PRECISIONS, Shape
from penjing.maths.layout import Layout
from penjing.maths.roofline import Work

GPT3 = Shape(96, 12288, 96, 4 * 12288, 51200)


def test_products_and_attention_of_a_step_are_those_of_narayanan_et_al():
    """Equation 2: 96 B s l h² (1 + s / 6 h + V / 16 l h) with all blocks computed again and scores kept; shared out by 8 x 8 ranks."""
    s, layers, h, v, rows = 2048, 96, 12288, 51200, 64
    done = roofline.work(
        GPT3, Layout(tensor=8, pipeline=8, parts=rows, checkpointing="full", fused=False), s, PRECISIONS["mixed"]
    )  # fmt: skip
    printed = 96 * rows * s * layers * h**2 * (1 + s / (6 * h) + v / (16 * layers * h))
    assert done.products + done.told + done.attention == pytest.approx(printed / 64, rel=1e-9)
    assert done.idle == 7 / 64


def test_a_frozen_model_computes_two_products_for_three_and_a_causal_kernel_half_of_the_scores():
    shape, plain = Shape(2, 64, 4, 256, 1000), PRECISIONS["bf16"]
    whole, frozen = (roofline.work(shape, Layout(), 128, plain, learnt=learnt) for learnt in (1.0, 0.0))
    assert frozen.products == pytest.approx(whole.products * 2 / 3)
    kept = roofline.work(shape, Layout(fused=False), 128, plain)
    assert whole.attention == pytest.approx(kept.attention / 3 * (1 + 2.5) / 2)


def test_ideal_seconds_are_work_by_rate():
    h100 = device("H100")
    done = Work(989.4e12, 0.0, 98.94e12, 3.35e12, sent=450e9, neighbours=8, ranks=8, idle=0.5)
    assert roofline.ideal(done, h100, "bf16") == pytest.approx([1.5, 1.5, 0.15, 1.5, 1.5])
    reached = dataclasses.replace(h100, reached=True)
    assert roofline.ideal(done, reached, "bf16")[:2] == pytest.approx([1.5, 0.0])
    assert roofline.ideal(done._replace(told=989.4e12), h100, "fp8")[0] == pytest.approx(1.5 * (0.5 + 1), rel=1e-3)


def test_sending_between_nodes_is_bound_by_the_network_of_all_ranks_that_send_there():
    a100 = device("A100-80G")
    assert roofline.rate(a100, 8, 1) == 300e9
    assert roofline.rate(a100, 16, 1) == 25e9
    assert roofline.rate(a100, 16, 8) == 200e9
    assert roofline.at_least(Work(0, 0, 0, 0, beside=25e9, neighbours=8, ranks=16), a100) == 1.0


def test_factors_that_made_the_times_are_found_again():
    rng = np.random.default_rng(0)
    ideals, factors = rng.uniform(0.1, 1, (50, 4)), np.array([1.4, 4.0, 2.0, 0.0])
    assert roofline.fit(ideals, ideals @ factors) == pytest.approx(factors, abs=1e-9)


def test_a_run_does_not_tell_itself():
    """A group that is wholly unlike the others gets their factor, not its own."""
    ideals, seconds = np.ones((12, 1)), np.array([1.0] * 10 + [5.0] * 2)
    graded = roofline.grade(ideals, seconds, ["a"] * 5 + ["b"] * 5 + ["odd"] * 2)
    assert graded.told[-2:] == pytest.approx([1.0, 1.0])


def test_the_interval_covers_the_next_of_exchangeable_errors_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(3000):
        errors = rng.normal(size=31)
        low, high = roofline.interval(errors[:30])
        covered.append(low <= errors[30] <= high)
    assert np.mean(covered) == pytest.approx(25 / 31, abs=0.02)  # between the third of 30 from either end are 25 of 31 places


def test_few_errors_give_no_interval_and_one_group_no_grades():
    assert roofline.interval(np.zeros(8)) == (-np.inf, np.inf)
    with pytest.raises(ValueError, match="at least 2"):
        roofline.grade(np.ones((3, 1)), np.ones(3), ["a"] * 3)
