"""The training loop: a generator that the caller drives, one step at a time.

    state = State(model, encoded, options, runtime)
    for step in train(state, loss):       # the caller decides when to measure, keep the best, stop
        ...

Everything that a later step depends on is in `State` and comes out of `state.to_dict()`: the loop resumes from there to the bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import ModelError
from penjing.core.runtime import Runtime, processor
from penjing.core.training import Training
from penjing.engine.batches import Encoded, on_device, training_order

Loss = Callable[[Any, Batch], RowLoss]

SCHEDULES: dict[str, Callable[[float], float]] = {  # t: share of the training after warm-up that is done, in [0, 1]
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
}
BF16_MIN_PARAMETERS = 1_000_000  # below it the casts of a step cost more than its products save


class Step(NamedTuple):
    """What one update was like; `epoch_ends` is true on the last of an epoch and on the last of all."""

    number: int
    epoch: float
    loss: float
    learning_rate: float
    rows: int
    seconds: float
    epoch_ends: bool


class State:
    """A run in progress: weights, optimizer, and the position in the order of the rows.

    repeats   how many times a batch holds its rows, one whole copy after the other, for a loss that compares draws of dropout
    """

    def __init__(self, model: torch.nn.Module, encoded: Encoded, options: Training, runtime: Runtime, repeats: int = 1):
        self.model, self.encoded, self.options, self.runtime, self.repeats = model, encoded, options, runtime, repeats
        self.optimizer = make_optimizer(model, options)
        self.precision = choose_precision(model, options, runtime)
        self.epoch = self.position = self.number = 0
        self.epoch_steps = len(self.order(0))
        self.steps = math.ceil(options.epochs * self.epoch_steps)
        torch.manual_seed(runtime.seed)

    def order(self, epoch: int) -> list[list[int]]:
        """Row numbers of each batch of an epoch, a function of seed and epoch alone."""
        return training_order(self.encoded.lengths, self.options.batch_rows, self.options.batch_tokens, self.runtime.seed, epoch)

    def batch(self, rows: list[int]) -> Batch:
        """What a step sees of these rows."""
        return self.encoded.batch(rows * self.repeats)

    def learning_rate(self) -> float:
        """For the step that comes next."""
        warm = math.ceil(self.steps * self.options.warmup_share)
        if self.number < warm:
            return self.options.learning_rate * (self.number + 1) / warm
        return self.options.learning_rate * SCHEDULES[self.options.schedule]((self.number - warm) / max(1, self.steps - warm))

    def to_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "position": (self.epoch, self.position, self.number),
        }

    def from_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `to_dict` was taken."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        self.epoch, self.position, self.number = saved["position"]


def train(state: State, loss: Loss) -> Iterator[Step]:
    """Update the model batch by batch until the epochs are over; yields after each update.

    loss      (outputs, batch) -> RowLoss; the step descends its mean over targets

    Raises ModelError for a loss or gradient that is not finite, before it touches the weights.
    """
    order = state.order(state.epoch)
    while state.number < state.steps:
        start = time.perf_counter()
        state.model.train()
        rows = order[state.position]
        rate = state.learning_rate()
        value = _update(state, state.batch(rows), loss, rate)
        state.number += 1
        state.position += 1
        epoch_ends = state.position == len(order) or state.number == state.steps
        if state.position == len(order):
            state.epoch, state.position = state.epoch + 1, 0
            order = state.order(state.epoch)
        epoch = state.number / state.epoch_steps
        yield Step(state.number, epoch, value, rate, len(rows), time.perf_counter() - start, epoch_ends)


def gradients(state: State, batch: Batch, loss: Loss) -> float:
    """Forward and backward pass; the mean loss, with its gradients on the weights."""
    state.optimizer.zero_grad()
    device = next(state.model.parameters()).device
    batch = on_device(batch, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=state.precision == "bf16"):
        outputs = state.model(**batch.inputs)
    mean = loss(outputs, batch).mean()
    if not torch.isfinite(mean):
        raise _not_finite("loss", mean.item(), state, batch)
    mean.backward()
    return mean.item()


def _update(state: State, batch: Batch, loss: Loss, rate: float) -> float:
    value = gradients(state, batch, loss)
    weights = [p for p in state.model.parameters() if p.grad is not None]
    norm = torch.nn.utils.clip_grad_norm_(weights, state.options.clip or math.inf)
    if not torch.isfinite(norm):
        raise _not_finite("gradient", norm.item(), state, batch)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.step()
    return value


def _not_finite(what: str, value: float, state: State, batch: Batch) -> ModelError:
    rows = sorted(set(batch.rows.tolist()))
    return ModelError(
        f"step {state.number + 1}: the {what} is {value} on training rows {rows[:8]}{' ...' if len(rows) > 8 else ''}; "
        "the weights were not touched",
        fix=f"lower --learning-rate (now {state.options.learning_rate:g}), or look at these rows",
    )


def make_optimizer(model: torch.nn.Module, options: Training) -> torch.optim.Optimizer:
    """AdamW or SGD with momentum over the weights that are to be trained; no decay on norms and biases (one-dimensional tensors)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=options.learning_rate, momentum=options.momentum, nesterov=options.momentum > 0)
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def choose_precision(model: torch.nn.Module, options: Training, runtime: Runtime) -> str:
    """ "fp32" or "bf16"; auto is bf16 where the processor multiplies it and the model is large enough to gain."""
    if options.precision != "auto":
        return options.precision
    fast = runtime.device == "cuda" or {"amx_bf16", "avx512_bf16"} & set(processor()["instructions"])
    return "bf16" if fast and sum(p.numel() for p in model.parameters()) >= BF16_MIN_PARAMETERS else "fp32"
