"""The power law of a learning curve: a law that made the errors is found again, and an interval holds what it should."""

import math

import numpy as np
import pytest

from penjing.maths.learning_curve import PowerLaw, fit, resampled

SIZES = [125, 250, 500, 1000]


def test_the_law_that_made_the_errors_is_found_again():
    law = PowerLaw(0.1, 2.0, 0.5)
    found = fit(np.array(SIZES, float), np.array([law.error(rows) for rows in SIZES]))
    assert found == pytest.approx(law, rel=1e-6)
    assert found.error(4000) == pytest.approx(law.error(4000)) and found.rows(law.error(4000)) == pytest.approx(4000)


def test_no_number_of_rows_comes_below_the_offset_and_a_flat_curve_needs_none():
    assert PowerLaw(0.1, 2.0, 0.5).rows(0.1) == math.inf
    flat = fit(np.array(SIZES, float), np.full(4, 0.2))
    assert flat.error(8000) == pytest.approx(0.2) and flat.rows(0.15) == math.inf


def test_an_interval_by_resampled_runs_holds_the_true_error_as_often_as_it_says():
    law, draw, held = PowerLaw(0.05, 1.5, 0.5), np.random.default_rng(0), 0
    for trial in range(60):
        errors = {rows: (law.error(rows) + draw.normal(0, 0.01, 5)).tolist() for rows in SIZES}
        low, high = np.quantile([each.error(2000) for each in resampled(errors, 60, trial)], [0.025, 0.975])
        held += low <= law.error(2000) <= high
    assert held / 60 > 0.75  # five runs: a bootstrap of so few is known to be somewhat narrow


def test_too_few_sizes_or_runs_are_refused():
    with pytest.raises(ValueError, match="at least 3 sizes"):
        fit(np.array([10.0, 20.0]), np.array([0.5, 0.4]))
    with pytest.raises(ValueError, match="at least two runs"):
        resampled({10: [0.5], 20: [0.4], 40: [0.3]})
