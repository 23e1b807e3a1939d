"""Compute-optimal sizes against a search, and against the model that the paper trained."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from penjing.maths import scaling


@pytest.mark.parametrize("flops", [1e18, 1e21, 5.76e23, 1e26])
def test_the_closed_form_is_where_a_search_finds_the_least_loss(flops):
    found = minimize_scalar(lambda n: scaling.loss(np.exp(n), flops / 6 / np.exp(n)), bounds=(10, 35), method="bounded")
    told = scaling.compute_optimal(flops)
    assert told.parameters == pytest.approx(np.exp(found.x), rel=1e-3)
    assert 6 * told.parameters * told.tokens == pytest.approx(flops)
    assert told.loss == pytest.approx(found.fun)


def test_chinchilla_is_about_as_large_as_it_was_made():
    """Hoffmann et al., section 4: 70 B parameters and 1.4 T tokens for 5.76e23 operations."""
    told = scaling.compute_optimal(5.76e23)
    assert told.parameters == pytest.approx(70e9, rel=0.1)
    assert told.tokens == pytest.approx(1.4e12, rel=0.1)


def test_a_budget_buys_hours_of_devices():
    assert scaling.bought(1000, 2.5, 400e12) == 400 * 3600 * 400e12
