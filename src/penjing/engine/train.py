"""The training loop: a generator that the caller drives, one step at a time.

    state = State(learner, encoded, options, runtime)
    for step in train(state, loss):       # the caller decides when to measure, keep the best, stop
        ...

Everything that a later step depends on is in `State` and comes out of `state.to_dict()`: the loop resumes from there to the bit.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy
import torch

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import ModelError
from penjing.core.progress import say
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine.anatomy import anatomy
from penjing.engine.average import Average, moving
from penjing.engine.batches import Encoded, Order, on_device
from penjing.engine.compiling import Compiling
from penjing.engine.corpus import Packed
from penjing.engine.heap import keeping_freed_memory
from penjing.engine.masks import CheapMasks
from penjing.engine.optimizers import SCHEDULES, make_optimizer
from penjing.engine.parallel import Group
from penjing.engine.precision import LossScale, Weights, arithmetic, choose_precision
from penjing.engine.recomputing import recomputing
from penjing.engine.sharding import Shards
from penjing.engine.shortcuts import only_told, shortcuts
from penjing.engine.tables import large_tables
from penjing.methods.finetune import Learner

Loss = Callable[[Any, Batch], RowLoss]


class Step(NamedTuple):
    """What one update was like.

    length          what its rows cost of the token budget
    gradient_norm   before it was clipped
    seconds         all that it took
    waited          seconds of these in which the rows of the next were not ready yet
    epoch_ends      true on the last of an epoch and on the last of all
    """

    number: int
    epoch: float
    loss: float
    learning_rate: float
    rows: int
    length: int
    gradient_norm: float
    seconds: float
    waited: float
    epoch_ends: bool


class Share(NamedTuple):
    """What this rank computes of a batch.

    rows     all of the batch, those of the other ranks too
    parts    its own, computed one after the other; as many on every rank
    counts   which of them count; where a batch has too few rows for all ranks and parts, some compute one for nothing
    """

    rows: list[int]
    parts: list[Batch]
    counts: list[bool]


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

    def __init__(self, learner: Learner, encoded: Encoded | Packed, options: Training, runtime: Runtime, repeats: int = 1):
        self.learner, self.encoded, self.options, self.runtime, self.repeats = learner, encoded, options, runtime, repeats
        self.group, self.precision = Group(runtime.device), choose_precision(learner.model, options, runtime)
        self.scale = LossScale(self.precision)
        self.weights = (
            Shards(learner.model, learner.rates, self.precision, self.group)
            if options.sharded
            else Weights(learner.model, learner.rates, self.precision)
        )
        self.model: Any = self.weights.model
        self.joins = options.sharded or self.group.rank == 0  # where the whole model is measured or saved
        learnt = self.weights.learnt
        tables = large_tables(self.model, learnt) if self.group.size == 1 and runtime.device == "cpu" else {}
        parts = anatomy(learner.model)
        self.blocks, self.head = parts.blocks, parts.head
        self.optimizer = make_optimizer(learnt.items(), learner.rates, options, self.blocks, tables)
        self.compiling = Compiling(self.model, self.blocks, options, runtime.device)
        self.average = Average({**moving(self.model, learner.rates), **learnt}, options.average) if options.average else None
        self._kept = [(learnt[name], learnt[name] != 0) for name in learner.zeros]
        self.place, self.number, self.parts = Place(), 0, options.parts
        self.cut(*options.usual_batch)
        self.awaken()

    def cut(self, rows: int, tokens: int) -> None:
        """Let a batch hold at most so many rows and tokens; before the first step."""
        self.order = Order(self.encoded, rows, tokens, self.runtime.seed)
        self._pool: tuple[tuple[int, ...], list[list[int]]] = (), []
        self.epoch_steps = self.order.num_batches()
        self.steps = math.ceil(self.options.epochs * self.epoch_steps)

    def at(self, place: Place) -> Share:
        """The batch of a step. As many rows of the next pool are read beside, so that none of them is waited for when it begins."""
        batches, following = self._batches(place), self.order.rows(place.epoch, place.pool + 1)
        start, end = (len(following) * step // len(batches) for step in (place.step, place.step + 1))
        self.encoded.read(following[start:end])
        return self.share(batches[place.step], place.epoch)

    @torch.no_grad()
    def outputs(self, row: int = 0) -> Any:
        """What the model gives for a row when it does not learn; a step will wake it again."""
        device = next(self.model.parameters()).device
        self.model.eval()
        with arithmetic(self.precision, device.type):
            return self.model(**on_device(self.encoded.batch([row]), device).inputs)

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

    def share(self, rows: list[int], epoch: int) -> Share:
        """What this rank sees of these rows in a step of an epoch."""
        mine, counts = zip(*self.group.share(rows, self.parts))
        return Share(rows, [self.encoded.batch(part * self.repeats, epoch) for part in mine], list(counts))

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

    @torch.no_grad()
    def keep_zeros(self) -> None:
        """Take back what an update has made of the zeros that stay."""
        for weight, kept in self._kept:
            weight.mul_(kept)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Within it the model holds what is measured and kept: fp32 weights, averaged where an average is taken."""
        self.optimizer.settle()
        with self.compiling.paused(), self.weights.settled(self.average.values if self.average else {}):
            yield

    def whole(self) -> dict[str, torch.Tensor] | None:
        """All weights and buffers as they are now, on rank 0; None elsewhere."""
        return self.weights.whole() if self.joins else None

    def release(self) -> None:
        """Leave the model as it was, with what it has learnt."""
        self.compiling.end()
        self.optimizer.release()
        self.weights.release()

    def to_dict(self) -> dict[str, Any]:
        """All that the next step depends on."""
        with self.weights.settled({}):
            model = self.model.state_dict()
        return {
            "model": model,
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.state_dict(),
            "scale": self.scale.state_dict(),
            "compiled": self.compiling.since,
            "position": (*self.place, self.number, self.parts),
        }

    def from_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `to_dict` was taken."""
        with self.weights.settled({}):
            self.model.load_state_dict(saved["model"])
        self.weights.show()
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.average:
            self.average.load_state_dict(saved["average"])
        self.scale.load_state_dict(saved["scale"])
        if saved["compiled"] is not None:
            self.compiling.begin(saved["compiled"])
        *place, self.number, self.parts = saved["position"]
        self.place = Place(*place)


def train(state: State, loss: Loss) -> Iterator[Step]:
    """Update the model batch by batch until the epochs are over; yields after each update.

    loss      (outputs, batch) -> RowLoss; the step descends its mean over targets

    Raises ModelError for a loss or gradient that is not finite, before it touches the weights.
    """
    keeping = keeping_freed_memory(thrifty=state.options.gradient_checkpointing)  # who computes again would rather wait than hold
    with ThreadPoolExecutor(1) as ahead, keeping as look, shortcuts(state.model, state.blocks, state.outputs):
        coming = ahead.submit(state.at, state.place)
        while state.number < state.steps:
            start = time.perf_counter()
            state.awaken()
            share = coming.result()
            rate, following = state.learning_rate(), state.after(state.place)
            coming = ahead.submit(state.at, following)
            value, norm = _update(state, share, loss, rate)
            learnt = time.perf_counter()
            look()
            wait([coming])  # nothing runs beside the caller, who may measure with the same tokenizer
            ended = following.epoch > state.place.epoch
            state.number, state.place = state.number + 1, following
            taken, waited = time.perf_counter() - start, time.perf_counter() - learnt
            last = state.number == state.steps
            length = int(state.encoded.lengths[share.rows].sum())
            state.compiling.note(state.number, taken, state.steps - state.number)
            epoch, ends = state.number / state.epoch_steps, ended or last
            yield Step(state.number, epoch, value, rate, len(share.rows), length, norm, taken, waited, ends)


def gradients(state: State, share: Share, loss: Loss) -> float:
    """Forward and backward passes; the mean loss over all targets of the batch, on whichever rank, with its gradients on the weights.

    Whatever the parts and ranks, the result is the same but for rounding and draws of dropout, where the rows of a batch do not interact.
    """
    while True:
        try:
            total, count = _passes(state, share, loss)
            break
        except RuntimeError as error:
            share = _smaller(state, share, error)
    total, count = state.group.total(total, count)
    count = count or 1.0
    state.weights.sum(state.group)
    if (left := state.scale.value * (1.0 if _alone(state, share) else count)) != 1:
        torch._foreach_mul_(state.weights.gradients(), 1 / left)
    return total / count


def _alone(state: State, share: Share) -> bool:
    """Whether a pass sees all targets of the batch, so that its loss can be divided by their count rather than all gradients."""
    return state.group.size == 1 and len(share.parts) == 1


def _passes(state: State, share: Share, loss: Loss) -> tuple[float, float]:
    """Sum of the losses of this rank's rows and how many targets they have, with its gradient on the weights; of their mean if alone."""
    state.optimizer.zero_grad()
    state.model.zero_grad()  # images too, where memory was short halfway
    device = next(state.model.parameters()).device
    total, count, again = 0.0, 0.0, state.blocks if state.options.gradient_checkpointing else ()
    for number, (part, counts) in enumerate(zip(share.parts, share.counts)):
        batch, key = on_device(part, device), (state.runtime.seed, state.number, state.group.rank, number)
        torch.manual_seed(int(numpy.random.SeedSequence(key).generate_state(1)[0]))  # all draws of a step follow from its number
        masks = CheapMasks(key)
        drawing = masks if state.compiling.since is None else nullcontext()  # what is compiled draws for itself
        thrifty = only_told(state.model, state.head, batch.told)
        with arithmetic(state.precision, device.type), drawing, recomputing(state.model, again, masks), thrifty:
            outputs = state.model(**batch.inputs)
        found = loss(outputs, batch)
        summed = found.total.sum() * counts
        if not torch.isfinite(summed):
            raise _not_finite("loss", summed.item(), state, [part])
        targets = found.count.sum().item() * counts
        (summed * (state.scale.value / ((targets or 1.0) if _alone(state, share) else 1.0))).backward()
        state.weights.gather()
        total, count = total + summed.item(), count + targets
    return total, count


def _smaller(state: State, share: Share, error: RuntimeError) -> Share:
    """The same rows in twice as many parts, now and from now on, where memory was short; any other error is raised again."""
    if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        raise error
    most = max(len(part.rows) for part in share.parts)
    if most == 1:
        raise ModelError(
            f"step {state.number + 1}: there is not enough memory for one row of this model",
            wanted="a smaller model, shorter rows, or another machine",
            fix="cut the rows, or begin with a smaller MODEL",
        ) from error
    if state.encoded.whole:
        raise ModelError(
            f"step {state.number + 1}: there is not enough memory for {most} rows at once, and they are compared with each other",
            wanted="a smaller batch",
            fix=f"pass --batch-rows {max(2, most // 2)} or --gradient-checkpointing",
        ) from error
    if state.options.sharded:
        raise ModelError(
            f"step {state.number + 1}: there is not enough memory for {most} rows at once",
            wanted="a batch in more parts, as many on every rank",
            fix=f"pass --parts {2 * state.parts}",
        ) from error
    state.parts *= 2
    say(f"not enough memory for {most} rows at once: from step {state.number + 1} on a batch is computed in {state.parts} parts")
    return state.share(share.rows, state.place.epoch)


def _update(state: State, share: Share, loss: Loss, rate: float) -> tuple[float, float]:
    """Move the weights once; the loss and the norm of its gradient."""
    value = gradients(state, share, loss)
    found = state.weights.gradients()
    norm = state.weights.norm(state.group)
    if state.scale.skips(norm):
        return value, norm.item()
    if not torch.isfinite(norm):
        raise _not_finite("gradient", norm.item(), state, share.parts)
    if state.options.clip:
        torch._foreach_mul_(found, torch.clamp(state.options.clip / (norm + 1e-6), max=1.0))
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    state.optimizer.step()
    state.keep_zeros()
    state.weights.show()
    if state.average:
        state.average.update()
    return value, norm.item()


def _not_finite(what: str, value: float, state: State, parts: Sequence[Batch]) -> ModelError:
    rows = sorted({row for part in parts for row in part.rows.tolist()})
    return ModelError(
        f"step {state.number + 1}: the {what} is {value} on training rows {rows[:8]}{' ...' if len(rows) > 8 else ''}; "
        "the weights were not touched",
        fix=f"lower --learning-rate (now {state.options.learning_rate:g}), or look at these rows",
    )
