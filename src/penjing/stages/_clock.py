"""The budget of a search: what is spent of it, also before a stop, and what a training would take."""

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

from penjing.core.durable import write_text

MARGIN = 1.08  # what a training may take longer than one before it did, on a machine that others use too


class Clock:
    """Seconds since the search began.

    budget     seconds in all, None for no end
    aside      seconds kept for the proof
    overhead   seconds of making a candidate that are not its training
    pace       seconds of training for each epoch and unit of `work`, as the last training had it in its second half; None before the first
    """

    def __init__(self, budget: float | None, folder: Path):
        self.budget, self.path = budget or math.inf, folder / "spent.json"
        self.before = json.loads(self.path.read_text("utf-8")) if self.path.exists() else 0.0
        self.started, self.aside, self.overhead = time.perf_counter(), 0.0, 0.0
        self.pace: float | None = None

    def spent(self) -> float:
        """Seconds, those before a stop included."""
        return self.before + time.perf_counter() - self.started

    def note(self) -> None:
        """Keep what is spent for a search that goes on after a stop."""
        write_text(self.path, json.dumps(self.spent()))

    def left(self) -> float:
        """Seconds that trainings may take yet; endless without a budget."""
        return self.budget - self.spent() - self.aside

    def measured(self, curve: Sequence[tuple[int, float, float]], epochs: float, work: float) -> None:
        """A training of so much work: (step, seconds, loss) as it went on; its first half tries numbers of threads."""
        (early, began, _), (last, ended, _) = [(0, 0.0, 0.0), *curve][len(curve) // 2], curve[-1]
        self.pace = (ended - began) / (last - early) * last / (epochs * work)

    def foreseen(self, epochs: float, work: float) -> float:
        """Seconds that a candidate will take."""
        return self.overhead + MARGIN * epochs * work * (self.pace or 0.0)

    def affordable(self, seconds: float, work: float) -> float:
        """Epochs that a candidate can be trained for in these seconds; endless where no pace is known."""
        return max(0.0, seconds - self.overhead) / (MARGIN * work * self.pace) if self.pace else math.inf
