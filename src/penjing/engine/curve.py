"""The losses of a training, few enough for a report and a picture however long it was."""

MOST_POINTS = 500


class Curve:
    """Losses against step and seconds: each point is the mean over equally many neighbouring steps, as few as MOST_POINTS allow.

    >>> curve = Curve()
    >>> for step in range(1, 4):
    ...     curve.note(step, 0.5, loss=1 / step)
    >>> curve.points
    [(1, 0.5, 1.0), (2, 1.0, 0.5), (3, 1.5, 0.3333333333333333)]
    """

    def __init__(self) -> None:
        self.points: list[tuple[int, float, float]] = []
        self._seconds, self._every, self._losses = 0.0, 1, list[float]()

    def note(self, step: int, seconds: float, loss: float) -> None:
        """One more step, and what it took."""
        self._seconds += seconds
        self._losses.append(loss)
        if len(self._losses) == self._every:
            self.points.append((step, round(self._seconds, 4), sum(self._losses) / self._every))
            self._losses.clear()
        if len(self.points) == MOST_POINTS:
            pairs = zip(self.points[::2], self.points[1::2])
            self.points = [(step, seconds, (loss + before) / 2) for (_, _, before), (step, seconds, loss) in pairs]
            self._every *= 2
