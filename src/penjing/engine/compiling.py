"""torch.compile of a model's blocks, from outside, where what is left of a training pays for it.

On a processor it does not: with torch 2.13 on 4 cores MiniLM trains at 165 rows/s compiled and 215 as it is (235 and 215 where nothing is
dropped out), a convolutional network at 550 and 690. A compiled block goes on with all positions (engine/shortcuts.py).
"""

import shutil
import statistics
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from penjing.core.errors import ModelError
from penjing.core.progress import say
from penjing.core.training import Training

TIMED = 20  # steps from which it is estimated how long the others take
SECONDS = 90.0  # that compiling a kind of block may take, forward and backward
GAIN = 0.2  # of the time of a step on a GPU that is then saved, at the least


class Compiling:
    """Of one training; `since` is the step from which on its blocks are compiled, None while they are not."""

    def __init__(self, model: Any, blocks: tuple[str, ...], options: Training, device: str):
        self._blocks = [model.get_submodule(path) for path in blocks]
        self._may = options.compile == "auto" and device == "cuda" and bool(blocks) and not options.gradient_checkpointing
        self._seconds = list[float]()
        self.since: int | None = None
        if options.compile == "on":
            self.begin(0)

    def note(self, number: int, seconds: float, left: int) -> None:
        """A step took so long, and so many are left: compile from here on if that saves time."""
        if not self._may or len(self._seconds) == TIMED:
            return
        self._seconds.append(seconds)
        saved = GAIN * left * statistics.median(self._seconds)
        if len(self._seconds) == TIMED and saved > SECONDS:
            say(f"compiling the model: that saves about {saved / 60:.0f} of the minutes that are left")
            self.begin(number)

    def begin(self, number: int) -> None:
        """From this step on."""
        self.since = number
        for block in self._blocks:
            block.compile(dynamic=True)

    def paused(self) -> AbstractContextManager[Any]:
        """Within it nothing is compiled anew: what is measured has weights of another dtype."""
        return nullcontext() if self.since is None else torch.compiler.set_stance("force_eager")

    def end(self) -> None:
        """Leave the blocks as they were."""
        for block in self._blocks:
            block._compiled_call_impl = None


def require_compiler(options: Training, blocks: tuple[str, ...], device: str) -> None:
    """Raise ModelError where the model cannot be compiled as asked."""
    if options.compile != "on":
        return
    if options.gradient_checkpointing:
        raise ModelError(
            "blocks that are compiled cannot be computed again",
            wanted="--compile on or --gradient-checkpointing",
            fix="leave --compile on out",
        )
    if not blocks:
        raise ModelError("this model has no blocks that could be compiled", wanted="--compile auto", fix="leave --compile on out")
    if device == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise ModelError("there is no C++ compiler here", wanted="g++ or clang++", fix="install one, or leave --compile on out")
