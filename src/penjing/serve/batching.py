"""Rows of many requests as batches of one model: those of like length together, no longer than the model is busy.

While batches are computed, what arrives waits for the next; an idle model begins at once unless it was told to wait.
"""

import asyncio
import collections
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from penjing.serve.errors import Refused
from penjing.serve.hosted import Answer, Entries

WORTH = 64  # tokens: what a batch of its own costs beside its rows, so that as many may be padding for the sake of one less
LOOKED_AT = 256


class Job:
    """The rows of one request, whose answers come together.

    dropped   whether nobody waits for them any more
    """

    __slots__ = ("answers", "dropped", "future", "left", "loop")

    def __init__(self, rows: int, loop: asyncio.AbstractEventLoop):
        self.loop, self.future = loop, loop.create_future()
        self.answers: list[Any] = [None] * rows
        self.left, self.dropped = rows, False


class Row:
    """One row that waits."""

    __slots__ = ("arrived", "entries", "job", "length", "place", "probabilities")

    def __init__(self, entries: Entries, length: int, job: Job, place: int, probabilities: bool):
        self.entries, self.length, self.job, self.place, self.probabilities = entries, length, job, place, probabilities
        self.arrived = time.monotonic()


class Batcher:
    """A bounded queue, and threads that each ask the model for a batch of what waits in it.

    answer   (entries of each row, whether chances are wanted) -> an answer for each
    lanes    () -> how many threads; more as soon as it says so
    seen     told of each batch: rows, tokens, seconds, and how many rows wait now
    """

    def __init__(
        self, name: str, answer: Callable[[Sequence[Entries], bool], Sequence[Answer]], *, batch_rows: int, batch_tokens: int, wait: float,
        queue: int, pads: bool = True, lanes: Callable[[], int] = lambda: 1,
        seen: Callable[[int, int, float, int], None] = lambda *_: None,
    ):  # fmt: skip
        self._answer, self._batch_rows, self._batch_tokens, self._wait, self._most = answer, batch_rows, batch_tokens, wait / 1000, queue
        self._pads, self._lanes, self._seen = pads, lanes, seen
        self._waiting: list[Row] = []
        self._changed, self._closing = threading.Condition(), False
        self._name, self._threads = name, list[threading.Thread]()
        self._widen()

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return len(self._waiting)

    async def ask(self, rows: Sequence[Entries], lengths: Sequence[int], probabilities: bool = False) -> list[Answer]:
        """The answers to the rows of a request, in their order.

        Raises Refused with 429 where too many wait, with 503 behind the end; cancelled, what still waits is not computed.
        """
        job = Job(len(rows), asyncio.get_running_loop())
        with self._changed:
            if self._closing:
                raise Refused.unloading()
            if len(self._waiting) + len(rows) > self._most:
                self._waiting = [row for row in self._waiting if not row.job.dropped]
                if len(self._waiting) + len(rows) > self._most:
                    raise Refused.full()
            self._waiting += [Row(*each, job, i, probabilities) for i, each in enumerate(zip(rows, lengths))]
            self._changed.notify(len(rows))
        try:
            return await job.future
        finally:
            job.dropped = True

    def close(self) -> None:
        """Answer what waits, and end; returns when that is done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _widen(self) -> None:
        with self._changed:
            while len(self._threads) < self._lanes() and not self._closing:
                self._threads.append(threading.Thread(target=self._run, name=f"batches of {self._name}", daemon=True))
                self._threads[-1].start()

    def _run(self) -> None:
        while batch := self._next():
            self._widen()
            begun = time.perf_counter()
            answers = self._answered(batch)
            self._seen(len(batch), sum(row.length for row in batch), time.perf_counter() - begun, self.waiting)
            for loop in {row.job.loop for row in batch}:
                mine = [(row, answer) for row, answer in zip(batch, answers) if row.job.loop is loop]
                with contextlib.suppress(RuntimeError):  # that loop was closed before its answer came
                    loop.call_soon_threadsafe(_deliver, mine)

    def _next(self) -> list[Row]:
        """The next batch; none when the queue is closed and empty."""
        with self._changed:
            while True:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if self._waiting and self._wait:
                    self._wait_for_others()
                self._waiting = [row for row in self._waiting if not row.job.dropped]
                if self._waiting:
                    break
                if self._closing:
                    return []
            share = -(-len(self._waiting) // len(self._threads))  # no lane takes what others could compute
            batch = of_like_length(self._waiting, min(self._batch_rows, share), self._batch_tokens, self._pads)
            if len(batch) == len(self._waiting):
                self._waiting = []
            else:
                taken = {*map(id, batch)}
                self._waiting = [row for row in self._waiting if id(row) not in taken]
            return batch

    def _wait_for_others(self) -> None:
        until = self._waiting[0].arrived + self._wait
        while len(self._waiting) < self._batch_rows and not self._closing and (left := until - time.monotonic()) > 0:
            self._changed.wait(left)

    def _answered(self, batch: Sequence[Row]) -> Sequence[Answer | Exception]:
        """The answers; where the batch fails each row is asked about alone, so that one bad row costs no other its answer."""
        try:
            return self._answer([row.entries for row in batch], any(row.probabilities for row in batch))
        except Exception as error:  # whatever a model raises belongs to the request, not to this thread
            return [error] if len(batch) == 1 else [self._answered([row])[0] for row in batch]


def of_like_length(waiting: Sequence[Row], most_rows: int, most_tokens: int, pads: bool = True) -> list[Row]:
    """The batch of the row that has waited longest, where all that wait are shared out among batches that are done soonest.

    A batch takes as long as its tokens with padding, and WORTH more; which lengths go together is found by dynamic programming over them
    (Fang et al. 2021, "TurboTransformers", section 5), of the LOOKED_AT rows that have waited longest.
    """
    if not pads or len(waiting) == 1:
        widths = itertools.accumulate((row.length for row in waiting[:most_rows]), max)
        return [*waiting[: max(1, sum(rows * width <= most_tokens for rows, width in enumerate(widths, 1)))]]
    counts = collections.Counter(row.length for row in waiting[:LOOKED_AT])
    lengths, most = sorted(counts), {length: max(1, min(most_rows, most_tokens // length)) for length in counts}
    done = [(0, 0)]  # for each length: tokens of all rows up to it, and the first of those that share their batches with it
    for last, longest in enumerate(lengths):
        rows, choices = 0, []
        for first in range(last, -1, -1):
            rows += counts[lengths[first]]
            choices.append((done[first][0] + rows * longest + WORTH * -(-rows // most[longest]), first))
        done.append(min(choices))
    last = len(lengths) - 1
    while lengths[first := done[last + 1][1]] > waiting[0].length:
        last = first - 1
    return [row for row in waiting if lengths[first] <= row.length <= lengths[last]][: most[lengths[last]]]


def _deliver(answered: Sequence[tuple[Row, Answer | Exception]]) -> None:
    """In the thread of the requests."""
    for row, answer in answered:
        job = row.job
        job.answers[row.place] = answer
        job.left -= 1
        if job.left == 0 and not job.future.done():
            failed = next((answer for answer in job.answers if isinstance(answer, Exception)), None)
            if failed is None:
                job.future.set_result(job.answers)
            else:
                job.future.set_exception(failed)
