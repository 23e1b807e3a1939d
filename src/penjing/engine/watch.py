"""What a training tells while it runs: how much of the processor it uses, a line a step, and hints where something is plainly wrong."""

import json
import math
import shutil
import statistics
import time
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from penjing.core.contracts import Prediction
from penjing.core.progress import say
from penjing.core.runtime import resident_bytes
from penjing.engine.board import FOLDER, Board
from penjing.engine.train import State, Step

FILE = "metrics.jsonl"
RECENT = 100  # steps that hints and rates look at
_WORSE = 0.01  # of the metric: less is noise of a few hundred tune rows
_GEMM = 1024  # rows and columns of the products that stand for what the processor can do
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Watch:
    """Of one training; `note` takes each step, `measured` each look at the tune rows.

    folder    where the file of steps is written; steps of an earlier attempt that the training will do again are cut off
    board     where TensorBoard is to show them too
    hints     what was plainly wrong, a sentence each, told when it was seen
    """

    def __init__(self, state: State, folder: Path, quiet: bool, board: Board | None = None):
        self._state, self._quiet, self._board, self.hints = state, quiet, board, list[str]()
        self._recent: deque[Step] = deque(maxlen=RECENT)
        self._first, self._tuned = list[float](), list[float]()
        self._operations = operations(state) if state.joins else 0.0
        self._peak = peak_rate(state) * state.group.size if state.group.rank == 0 else 0.0
        if (state.parts > 1 or state.group.size > 1) and rows_interact(state.model):
            self._hint("the rows of a batch see each other in this model (batch norm): in parts, or on several ranks, it learns otherwise")
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        kept = [line for line in _lines(self.path) if json.loads(line)["step"] <= state.number]
        self.path.write_text("".join(kept), "utf-8")
        self._first += [json.loads(line)["loss"] for line in kept[:RECENT]]

    def note(self, step: Step) -> dict[str, Any]:
        """Write a step down; what the progress bar shows of it."""
        self._recent.append(step)
        if len(self._first) < RECENT:
            self._first.append(step.loss)
        told = {**step._asdict(), "step": step.number, "gradient_norm": step.gradient_norm if math.isfinite(step.gradient_norm) else None}
        del told["number"], told["epoch_ends"]
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")
        self._look()
        rate, used = self._speed(self._recent)
        memory_gb = resident_bytes() / 1e9
        if self._board:
            now, used_now = self._speed([step])
            learnt = {f"train/{name}": told[name] for name in ("loss", "learning_rate", "gradient_norm") if told[name] is not None}
            speed = {"speed/rows_per_s": now, "speed/share_of_peak": used_now, "speed/share_waited": step.waited / step.seconds}
            self._board.point(step.number, {**learnt, **speed, "memory/GB": memory_gb})
        shown = {"loss": step.loss, "epoch": round(step.epoch, 2), "rows/s": rate, **({"of peak": f"{used:.0%}"} if used else {})}
        return {**shown, "memory": f"{memory_gb:.1f} GB"}

    def measured(self, quality: float, predictions: Sequence[Prediction] = ()) -> None:
        """The tune rows were looked at, where higher is better; `predictions` are the answers to them."""
        if self._board:
            self._board.measured(self._recent[-1].number, quality, predictions)
        self._tuned.append(quality)
        if len(self._tuned) > 3 and max(self._tuned[-3:]) < max(self._tuned[:-3]) - _WORSE and self._falls():
            self._hint("the loss falls and the tune rows do worse: it learns rows by heart; try --patience 3, fewer --epochs, or --augment")

    def settle(self) -> None:
        """Bring to the disk what was noted; a training that goes on after a checkpoint will not do it again."""
        if self._board:
            self._board.flush()

    def hand_over(self, out: Path) -> None:
        """Put what was noted into the folder of the output; it also stays where it was until the output is whole."""
        shutil.copy(self.path, out / FILE)
        if self._board:
            self._board.close()
            shutil.copytree(self.path.parent / FOLDER, out / FOLDER, dirs_exist_ok=True)

    def _speed(self, steps: Collection[Step]) -> tuple[float, float]:
        """Rows a second in these steps, and the share of the processor's peak that they used; 0 where it is not known."""
        seconds = sum(each.seconds for each in steps)
        used = self._operations * sum(each.length for each in steps) / seconds / self._peak if self._peak else 0.0
        return sum(each.rows for each in steps) / seconds, used

    def _look(self) -> None:
        """Where something is plainly wrong, say so once."""
        if len(self._recent) < RECENT:
            return
        step, seconds = self._recent[-1], sum(each.seconds for each in self._recent)
        if step.number >= 3 * RECENT and statistics.mean(s.loss for s in self._recent) > 0.995 * statistics.mean(self._first):
            rate = self._state.options.learning_rate
            self._hint(f"the loss has not fallen in {step.number:,} steps: try another --learning-rate (now {rate:g})")
        usual = statistics.median(each.gradient_norm for each in self._recent)
        if math.inf > step.gradient_norm > 100 * usual > 0:  # it overflows in fp16 whenever its scale is tried higher
            times = step.gradient_norm / usual
            self._hint(f"the gradient of step {step.number:,} is {times:.0f} times as large as usual: try a lower --learning-rate")
        if (waited := sum(each.waited for each in self._recent) / seconds) > 0.1:
            self._hint(f"{waited:.0%} of the time is spent waiting for rows: put them on a faster disk, or leave --augment out")

    def _falls(self) -> bool:
        """Whether the last losses are below those before them."""
        losses = [step.loss for step in self._recent]
        half = len(losses) // 2
        return half > 0 and statistics.mean(losses[half:]) < statistics.mean(losses[:half])

    def _hint(self, sentence: str) -> None:
        kind = sentence[:20]
        if not any(hint.startswith(kind) for hint in self.hints):
            self.hints.append(sentence)
            say(f"hint: {sentence}", self._quiet)


def rows_interact(model: torch.nn.Module) -> bool:
    """Whether what a row gives in training depends on the others of its batch."""
    return any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules())


def operations(state: State) -> float:
    """Multiplications and additions of a training step for each unit of length (a token; a row where rows are not texts).

    Those of a forward pass of the longest row as torch counts them, times three: a backward pass has two products for each. Padding does
    not count as work. 0 where torch counts nothing.
    """
    row = int(state.encoded.lengths.argmax())
    with FlopCounterMode(display=False) as counted:
        state.outputs(row)
    return 3 * counted.get_total_flops() / int(state.encoded.lengths[row])


def peak_rate(state: State) -> float:
    """Operations a second of products of square matrices in the precision of the training, with torch's present threads."""
    kind, device = _DTYPES.get(state.precision, torch.float32), state.model.device
    left = torch.randn(_GEMM, _GEMM, device=device).to(kind)
    left @ left
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        (left @ left)[0, 0].item()
        taken.append(time.perf_counter() - start)
    return 2 * _GEMM**3 / min(taken)


def _lines(path: Path) -> list[str]:
    """Whole lines of a file; a line that was cut off when the process died is left out."""
    if not path.exists():
        return []
    return [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
