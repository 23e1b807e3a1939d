"""`--batch-tokens auto`: how large a batch may be so that a step has room in memory, found before a training begins.

A few passes forward and backward, each over twice as many of the longest rows as the one before, show by how much memory grows with a
token; rows are about equally long there, so that it grows along a line. Along it a pass may take a share of the memory that is free, of
which what a training holds besides is set aside: moments of the optimizer, the best weights so far.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import torch

from penjing.core.progress import say
from penjing.core.runtime import free_bytes, resident_bytes
from penjing.core.training import BATCH_ROWS
from penjing.engine.average import untouched
from penjing.engine.heap import give_back
from penjing.engine.train import Loss, State, gradients

SHARE = 0.8  # of the room that a batch may take: the rest is for gaps between tensors, for measuring, for what others begin
GROWTH_BYTES = 128 << 20  # by which memory has grown when the line is known well enough
MOMENTS = 2  # of AdamW, each as large as what learns; others have fewer
ROWS_SHARE = 50  # a batch holds no more than one of so many parts of the rows, so that an epoch keeps as many steps
SAMPLE_S = 0.001


class Line(NamedTuple):
    """Memory of a step by the tokens of its batch.

    room    bytes that are free beside what the process holds and what a training will hold whatever its batches are
    fixed   bytes of a pass that do not depend on the tokens, above what the process holds
    each    bytes of a token
    """

    room: float
    fixed: float
    each: float

    def tokens(self) -> float:
        """How many take their share of the room."""
        return (SHARE * self.room - self.fixed) / self.each


def choose_batch(state: State, loss: Loss) -> tuple[int, int]:
    """Most rows and tokens of a batch: as the options have it, or measured; on all ranks the same."""
    options, lengths, group = state.options, state.encoded.lengths, state.group
    if options.batch_tokens != "auto" or not len(lengths):
        return options.usual_batch
    rows = options.batch_rows or max(BATCH_ROWS, len(lengths) // ROWS_SHARE)
    longest = int(lengths.max())
    line = Line(*group.from_first(tuple(_measured(state, loss))))
    fitting = _stable(max(line.tokens(), longest))
    rows = options.batch_rows or min(rows, max(BATCH_ROWS, fitting // max(1, round(float(lengths.mean())))))
    rows, tokens = min(rows, fitting), min(fitting, longest * min(rows, len(lengths)))
    held = f"{rows:,} rows" if longest == 1 else f"{rows:,} rows and {tokens:,} tokens"
    why = f"memory has room for {fitting:,}; more rows by --batch-rows"
    if tokens == fitting:
        why = f"{SHARE:.0%} of {line.room / 1e9:.1f} GB, at {line.each / 1e3:,.0f} kB for each"
    say(f"batches of at most {held} ({why})", state.runtime.quiet)
    return rows, tokens


def _measured(state: State, loss: Loss) -> Line:
    """The line of this process; the weights stay as they were."""
    order = numpy.argsort(-state.encoded.lengths, kind="stable")
    rows, points = state.parts * state.group.size, list[tuple[int, int]]()

    def passes() -> None:
        gradients(state, state.share(numpy.resize(order, rows).tolist(), 0), loss)

    parts = state.parts
    with untouched(state.model):
        passes()  # what is made once is there from now on: gradients, buffers of kernels
        held, free = held_and_free(state.runtime.device)
        room = free / (state.group.size if state.runtime.device == "cpu" else 1) - _to_come(state)
        while True:
            points.append((rows * int(state.encoded.read(order[:rows]).max()), _peak(passes, state.runtime.device)))
            grown, taken = (points[-1][1] - before for before in (points[0][1], held))
            if state.group.from_first(grown >= GROWTH_BYTES or 2 * taken > SHARE * room or rows >= len(order)):
                break
            rows *= 2
    state.optimizer.zero_grad()
    state.parts = parts  # more where memory was short for a batch that will not be
    (few, low), (many, high) = points[0], points[-1]
    each = max(1.0, (high - low) / (many - few) if many > few else (high - held) / many)
    return Line(room, high - held - each * many, each)


def _to_come(state: State) -> int:
    """Bytes that a training will hold and that are not there yet."""
    learnt, best = sum(w.nbytes for w in state.weights.learnt.values()), sum(4 * p.numel() for p in state.model.parameters())
    return MOMENTS * learnt + best


def held_and_free(device: str) -> tuple[int, int]:
    """Bytes that this process holds, and those that it may still take."""
    if device == "cuda":
        held, free = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
        return held, free + torch.cuda.memory_reserved() - held
    give_back()
    return resident_bytes(), free_bytes()


def restart_peak(device: str) -> bool:
    """Let `peak_bytes` count from what is held now; false where the system does not do that."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5", "ascii")  # sets VmHWM back (proc(5), since Linux 4.0)
    except OSError:
        return False
    return True


def peak_bytes(device: str) -> int:
    """Most bytes that this process has held since `restart_peak` was true."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    lines = Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _peak(passes: Callable[[], Any], device: str) -> int:
    """Most bytes that are held while it runs."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        passes()
        return torch.cuda.max_memory_allocated()
    give_back()
    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        seen = beside.submit(_highest, over)
        try:
            passes()
        finally:
            over.set()
    return seen.result()


def _highest(over: threading.Event) -> int:
    highest = resident_bytes()
    while not over.wait(SAMPLE_S):
        highest = max(highest, resident_bytes())
    return highest


def _stable(tokens: float) -> int:
    """The largest power of two, or one and a half of it, that is no more: what is free a little later gives the same."""
    power = 1 << (int(tokens).bit_length() - 1)
    return power + power // 2 if tokens >= 1.5 * power else power
