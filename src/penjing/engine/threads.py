"""How many threads: measured, because more can be slower by far on a machine that others use too.

Seen on a busy 4-core machine: one convolutional network ran ten times slower on 4 threads than on 2.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from penjing.core.runtime import cores

STEPS_EACH = 3  # of a training that a thread count is tried for; the fastest counts, as the first has to warm up
GIVEN_UP = 2.0  # times as slow as the fastest so far


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads while the body runs; None leaves them."""
    before = torch.get_num_threads()
    if threads and threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads and threads != before:
            torch.set_num_threads(before)


def thread_counts(asked: int, ranks: int) -> list[int]:
    """What a training tries, in this order: one where it was asked for, or where several ranks share the cores.

    Half of the cores first: on a machine that is busy all of them may take ten times as long, and the first has nothing to be judged by.
    """
    if asked or ranks > 1:
        return [asked or max(1, cores() // ranks)]
    return list(dict.fromkeys([max(1, cores() // 2), cores(), 1]))


def next_threads(counts: Sequence[int], tried: Sequence[tuple[int, float]]) -> int:
    """How many the next step of a training shall use: each of `counts` in turn for its first steps, from then on the fastest.

    tried   of the steps so far that tried some: how many, and how long it took for each unit of length

    >>> tried = [(2, 0.9), (2, 0.6), (2, 0.6), (4, 0.4), (4, 0.3), (4, 0.3), (1, 1.2)]
    >>> next_threads([2, 4, 1], tried[:1]), next_threads([2, 4, 1], tried[:5]), next_threads([2, 4, 1], tried)
    (2, 4, 4)
    """
    return untried(counts, tried) or fastest(counts, tried)


def untried(counts: Sequence[int], tried: Sequence[tuple[int, float]]) -> int | None:
    """Which is to be tried now; None where all have had their turn. One that is slower by far is given up at once."""
    best = min((taken for _, taken in tried), default=0.0)
    for threads in counts:
        own = [taken for used, taken in tried if used == threads]
        if len(own) < STEPS_EACH and min(own, default=best) <= GIVEN_UP * best:
            return threads
    return None


def fastest(counts: Sequence[int], tried: Sequence[tuple[int, float]]) -> int:
    """Which of those that have been tried was fastest; the first where none has."""
    return min(tried, key=lambda each: each[1], default=(counts[0], 0.0))[0]
