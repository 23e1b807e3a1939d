"""How a quality grows with the rows that are learnt from: a power law with an offset, and what it says of more rows.

Source: Hestness et al. 2017, "Deep learning scaling is predictable, empirically", section 2: error = c + a n^-b
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

EXPONENTS = np.linspace(0.05, 1.0, 39)  # of b: 0.07 to 0.35 in that paper's tables, 0.5 in theory, 1 of a noiseless rule
FEWEST_SIZES = 3  # as many as there are numbers to fit


class PowerLaw(NamedTuple):
    """error(n) = offset + scale n^-exponent; scale and offset are not negative."""

    offset: float
    scale: float
    exponent: float

    def error(self, rows: float) -> float:
        """After so many rows."""
        return self.offset + self.scale * float(rows) ** -self.exponent

    def rows(self, error: float) -> float:
        """So many are needed for this error; infinite where no number is enough."""
        if error <= self.offset:
            return float("inf")
        return float((self.scale / (error - self.offset)) ** (1 / self.exponent)) if self.scale else 1.0


def fit(rows: np.ndarray, errors: np.ndarray) -> PowerLaw:
    """The law that comes closest to (n,) errors in [0, 1] after (n,) rows, by squares.

    Raises ValueError for fewer sizes than it has numbers.
    """
    if len(set(rows.tolist())) < FEWEST_SIZES:
        raise ValueError(f"a power law with an offset has three numbers: at least {FEWEST_SIZES} sizes are needed")
    found = []
    for exponent in EXPONENTS:
        (offset, scale), miss = nnls(np.stack([np.ones(len(rows)), rows**-exponent], 1), errors)
        found.append((miss, PowerLaw(float(offset), float(scale), float(exponent))))
    return min(found, key=lambda each: each[0])[1]


def resampled(errors: dict[int, list[float]], draws: int = 200, seed: int = 0) -> list[PowerLaw]:
    """The laws of as many bootstrap samples, of each size the runs drawn with replacement (Efron and Tibshirani 1993, chapter 6).

    errors   rows -> the errors of several runs

    Raises ValueError where a size has one run, so that nothing is known of its noise.
    """
    if min(map(len, errors.values())) < 2:
        raise ValueError("an interval needs at least two runs of each size")
    draw = np.random.default_rng(seed)
    rows = np.array([size for size, runs in errors.items() for _ in runs], float)
    return [fit(rows, np.concatenate([draw.choice(runs, len(runs)) for runs in errors.values()])) for _ in range(draws)]
