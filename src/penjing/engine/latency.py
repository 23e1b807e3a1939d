"""Milliseconds for an answer: several models asked in turn for the same rows, so that a busy machine is busy for all of them."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy

from penjing.core.contracts import Batch
from penjing.core.progress import track
from penjing.core.report import Measure

WARM_UP, ROUNDS = 5, 60
MOST_S = 300.0  # after which no further round begins; a large model needs minutes for one
RESAMPLES = 1000


class Latency(NamedTuple):
    """One model's times (R,) in milliseconds, one a round."""

    times_ms: numpy.ndarray

    @property
    def median(self) -> Measure:
        """Middle time, with the interval that resampling the rounds gives it."""
        return _interval(self.times_ms, lambda times: numpy.median(times, axis=-1), "ms")

    @property
    def p95(self) -> Measure:
        """The time that 95 of 100 answers stay under."""
        return Measure(float(numpy.percentile(self.times_ms, 95)), "ms", n=len(self.times_ms), better="lower")


def interleaved(
    models: Sequence[Callable[[Batch], Any]], batches: Sequence[Sequence[Batch]], rounds: int = ROUNDS, quiet: bool = True
) -> list[Latency]:
    """Time each model on one batch a round, in turn; the first rounds, of few the first alone, warm up and do not count.

    Each round begins with another model: who comes after a large model finds the processor's caches full of it, which made a tenth of a
    millisecond a quarter longer.

    batches   for each of some sets of rows, usually of one row, the batch as each model's processor makes it; used round and round
    """
    times, began = numpy.zeros((len(models), rounds + WARM_UP)), time.perf_counter()
    for r in track(range(rounds + WARM_UP), "timing", rounds + WARM_UP, quiet):
        for i in ((r + turn) % len(models) for turn in range(len(models))):
            model, batch = models[i], batches[r % len(batches)][i]
            start = time.perf_counter()
            model(batch)
            times[i, r] = 1000 * (time.perf_counter() - start)
        if r and time.perf_counter() - began > MOST_S:
            break
    return [Latency(row[min(WARM_UP, r) : r + 1]) for row in times]


def ratio(slow: Latency, fast: Latency) -> Measure:
    """How many times faster `fast` is, by medians; the interval resamples whole rounds, which both shared."""
    both = numpy.stack([slow.times_ms, fast.times_ms])
    return _interval(both, lambda times: numpy.median(times[0], axis=-1) / numpy.median(times[1], axis=-1), "times", "higher")


def _interval(times: numpy.ndarray, statistic, unit: str, better: str = "lower") -> Measure:
    rounds = times.shape[-1]
    drawn = numpy.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))
    low, high = numpy.percentile(statistic(times[..., drawn]), [2.5, 97.5])
    return Measure(float(statistic(times)), unit, float(low), float(high), rounds, better)
