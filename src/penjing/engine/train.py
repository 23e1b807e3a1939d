"""The training loop: a generator that the caller drives, one step at a time.

    state = State(learner, encoded, options, runtime)
    for step in train(state, loss):       # the caller decides when to measure, keep the best, stop
        ...

Everything that a later step depends on is in `State` and comes out of `state.to_dict()`: the loop resumes from there to the bit.
"""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple

import torch

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import ModelError
from penjing.core.runtime import Runtime, processor
from penjing.core.training import Training
from penjing.engine.batches import Encoded, Order, on_device
from penjing.engine.optimizers import SCHEDULES, make_optimizer
from penjing.methods.finetune import Learner

Loss = Callable[[Any, Batch], RowLoss]

BF16_MIN_PARAMETERS = 1_000_000  # below it the casts of a step cost more than its products save


class Step(NamedTuple):
    """What one update was like.

    seconds      all that it took
    waited       seconds of these in which the rows of the next were not ready yet
    epoch_ends   true on the last of an epoch and on the last of all
    """

    number: int
    epoch: float
    loss: float
    learning_rate: float
    rows: int
    seconds: float
    waited: float
    epoch_ends: bool


class Place(NamedTuple):
    """Where in the order of the rows a step stands."""

    epoch: int = 0
    pool: int = 0
    step: int = 0


class State:
    """A run in progress: weights, optimizer, and the position in the order of the rows.

    learner   which model, and how each of its weights learns
    repeats   how many times a batch holds its rows, one whole copy after the other, for a loss that compares draws of dropout
    """

    def __init__(self, learner: Learner, encoded: Encoded, options: Training, runtime: Runtime, repeats: int = 1):
        self.learner, self.encoded, self.options, self.runtime, self.repeats = learner, encoded, options, runtime, repeats
        self.model = learner.model
        self.optimizer = make_optimizer(learner, options)
        self.precision = choose_precision(self.model, options, runtime)
        self.order = Order(encoded, options.batch_rows, options.batch_tokens, runtime.seed)
        self.place, self.number = Place(), 0
        self._pool: tuple[tuple[int, ...], list[list[int]]] = (), []
        self.epoch_steps = self.order.num_batches()
        self.steps = math.ceil(options.epochs * self.epoch_steps)
        torch.manual_seed(runtime.seed)
        self.awaken()

    def at(self, place: Place) -> tuple[list[int], Batch]:
        """Rows and batch of a step. As many rows of the next pool are read beside, so that none of them is waited for when it begins."""
        batches, following = self._batches(place), self.order.rows(place.epoch, place.pool + 1)
        start, end = (len(following) * step // len(batches) for step in (place.step, place.step + 1))
        self.encoded.read(following[start:end])
        return batches[place.step], self.batch(batches[place.step])

    def after(self, place: Place) -> Place:
        """Where the next step stands."""
        if place.step + 1 < len(self._batches(place)):
            return place._replace(step=place.step + 1)
        return Place(place.epoch, place.pool + 1) if place.pool + 1 < self.order.num_pools else Place(place.epoch + 1)

    def _batches(self, place: Place) -> list[list[int]]:
        """The rows of each batch of its pool."""
        if self._pool[0] != place[:2]:
            self._pool = place[:2], self.order.batches(*place[:2])
        return self._pool[1]

    def batch(self, rows: list[int]) -> Batch:
        """What a step sees of these rows."""
        return self.encoded.batch(rows * self.repeats)

    def awaken(self) -> None:
        """Put into training mode what the learner wants there, and let learn what learns by now; a function of the step's number alone."""
        self.model.eval()
        for path in self.learner.active:
            self.model.get_submodule(path).train()
        for name, parameter in self.model.named_parameters():
            rate = self.learner.rates.get(name)
            parameter.requires_grad_(rate is not None and rate.begins * self.epoch_steps <= self.number)

    def learning_rate(self) -> float:
        """For the step that comes next, of weights whose factor is 1."""
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
            "position": (self.place, self.number),
        }

    def from_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `to_dict` was taken."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        torch.set_rng_state(saved["random"])
        self.place, self.number = saved["position"]


def train(state: State, loss: Loss) -> Iterator[Step]:
    """Update the model batch by batch until the epochs are over; yields after each update.

    loss      (outputs, batch) -> RowLoss; the step descends its mean over targets

    Raises ModelError for a loss or gradient that is not finite, before it touches the weights.
    """
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(state.at, state.place)
        while state.number < state.steps:
            start = time.perf_counter()
            state.awaken()
            rows, batch = coming.result()
            rate, following = state.learning_rate(), state.after(state.place)
            coming = ahead.submit(state.at, following)
            value = _update(state, batch, loss, rate)
            learnt = time.perf_counter()
            wait([coming])  # nothing runs beside the caller, who may measure with the same tokenizer
            ended = following.epoch > state.place.epoch
            state.number, state.place = state.number + 1, following
            taken, waited = time.perf_counter() - start, time.perf_counter() - learnt
            last = state.number == state.steps
            yield Step(state.number, state.number / state.epoch_steps, value, rate, len(rows), taken, waited, ended or last)


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
        group["lr"] = rate * group["factor"]
    state.optimizer.step()
    return value


def _not_finite(what: str, value: float, state: State, batch: Batch) -> ModelError:
    rows = sorted(set(batch.rows.tolist()))
    return ModelError(
        f"step {state.number + 1}: the {what} is {value} on training rows {rows[:8]}{' ...' if len(rows) > 8 else ''}; "
        "the weights were not touched",
        fix=f"lower --learning-rate (now {state.options.learning_rate:g}), or look at these rows",
    )


def choose_precision(model: torch.nn.Module, options: Training, runtime: Runtime) -> str:
    """ "fp32" or "bf16"; auto is bf16 where the processor multiplies it and the model is large enough to gain."""
    if options.precision != "auto":
        return options.precision
    fast = runtime.device == "cuda" or {"amx_bf16", "avx512_bf16"} & set(processor()["instructions"])
    return "bf16" if fast and sum(p.numel() for p in model.parameters()) >= BF16_MIN_PARAMETERS else "fp32"
