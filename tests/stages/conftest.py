"""Few resamples and few shapes: these tests are about what stages do, not about how well."""

import pytest

from penjing.core.generation import Generation
from penjing.engine import measure, samples
from penjing.stages import _shapes


@pytest.fixture(autouse=True, scope="session")
def few():
    """Intervals from 20 resamples; two shapes to search; samples of a few tokens."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "RESAMPLES", 20)
        patch.setattr(_shapes, "SHARES", {"layers": (0.5,), "ffn": (0.5,)})
        patch.setattr(_shapes, "WIDTHS", {})
        patch.setattr(samples, "SHORT", Generation(max_new_tokens=4))
        yield
