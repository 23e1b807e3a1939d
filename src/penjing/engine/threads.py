"""How many threads: measured, because more can be slower by far on a machine that others use too."""

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from penjing.core.runtime import cores
from penjing.engine.train import Loss, State, gradients

PROBE_S = 1.0  # a thread count is timed until it has taken so long


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


def choose_threads(state: State, loss: Loss) -> int:
    """The thread count at which a forward and backward pass is fastest here and now; the weights stay as they were.

    Seen on a busy 4-core machine: one convolutional network ran ten times slower on 4 threads than on 2.
    """
    if state.runtime.threads or state.steps == 0:
        return state.runtime.threads or torch.get_num_threads()
    if state.group.size > 1:
        return max(1, cores() // state.group.size)
    weights = copy.deepcopy(state.model.state_dict())
    seconds = {}
    for threads in sorted({cores(), max(1, cores() // 2), 1}, reverse=True):
        with torch_threads(threads):
            gradients(state, state.at(state.place), loss)
            seconds[threads] = _fastest_pass(state, loss)
    state.model.load_state_dict(weights)  # batch norm counts what it sees
    state.optimizer.zero_grad()
    return min(seconds, key=lambda threads: seconds[threads])


def _fastest_pass(state: State, loss: Loss) -> float:
    share = state.at(state.place)
    taken: list[float] = []
    while len(taken) < 5 and sum(taken) < PROBE_S:
        start = time.perf_counter()
        gradients(state, share, loss)
        taken.append(time.perf_counter() - start)
    return min(taken)
