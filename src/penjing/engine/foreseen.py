"""What a training that is about to begin will take, by the formulas of `penjing plan`; its card sets it beside what came.

Nothing is told where they do not hold: weights that begin to learn later, a body of which the upper part learns; a network that cannot be
counted without weights; an accelerator that the table lacks.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy
from torch import Tensor
from transformers import PreTrainedModel

from penjing.core.progress import say
from penjing.engine import counted, graded
from penjing.engine.machine import here
from penjing.engine.masks import SHORT
from penjing.engine.room import held_and_free, peak_bytes, restart_peak
from penjing.engine.train import State
from penjing.engine.words import amount
from penjing.maths import layout, roofline
from penjing.maths.cost import PRECISIONS, Precision, Shape
from penjing.maths.layout import Layout
from penjing.maths.roofline import Work
from penjing.methods.finetune import within

LONG_S = 4 * 3600  # from which a person is warned
MOMENTS = {"adamw": 2, "muon": 1, "sgd": 0}  # numbers that an optimizer keeps for each that learns; with momentum 1 at least
NUMBER = 4  # bytes of fp32


class Foreseen(NamedTuple):
    """What a training will take.

    step_s, low_s, high_s   seconds of a step over the mean batch, with the ends of an 80 % interval
    steps                   of the whole training
    bytes                   of weights, gradients, moments, the best weights so far, and what the fullest batch keeps
    on                      whose rates they are
    """

    step_s: float
    low_s: float
    high_s: float
    steps: int
    bytes: float
    on: str


def foresee(state: State, batch: tuple[int, int], copies: int = 1, teacher: PreTrainedModel | None = None) -> Foreseen | None:
    """What it will take, in well under a second; None where that cannot be told.

    batch     most rows and tokens of one
    copies    how many times it holds its rows
    teacher   who answers each batch too
    """
    device = here(state.runtime.device, state.runtime.threads, state.group.size)
    if device is None or not len(state.encoded) or any(rate.begins for rate in state.learner.rates.values()):
        return None
    model = counted.counted_model(state.model)
    if not any(within(name, state.blocks) for name in state.learner.rates) and state.blocks:
        found = _of_a_probe(state, batch, copies)
    elif not _learns_through(state):
        return None
    else:
        found = _by_shape(model.shape, state, batch, copies) if model.shape else _by_pass(state, batch, copies)
    if found is None:
        return None
    work, held = found
    if teacher:
        once = _once(teacher, state)
        if once is None:
            return None
        asked = _answers(once, state, copies)
        work = work._replace(products=work.products + asked.products, moved=work.moved + asked.moved)
    pace = graded.step(work, device, state.precision)
    best = NUMBER * model.parameters.total * (1 + bool(state.average))
    return Foreseen(pace.told_s, pace.low_s, pace.high_s, state.steps, held + best, device.name)


def _learns_through(state: State) -> bool:
    """Whether gradients pass the whole body."""
    rates, below = state.learner.rates, state.blocks[:1]
    return any(within(name, below) for name in rates) if below else len(rates) == len(list(state.model.parameters()))


def _learnt(state: State) -> float:
    """Share of the numbers."""
    learning = sum(state.model.get_parameter(name).numel() for name in state.learner.rates)
    return learning / sum(p.numel() for p in state.model.parameters())


def _states(state: State) -> Precision:
    """Bytes of each number (engine/precision.py, engine/sharding.py)."""
    kind = "fp32" if state.precision in ("fp32", "tf32") else "autocast" if state.options.sharded else "mixed-fp32-gradients"
    found, options = PRECISIONS[kind], state.options
    moments = MOMENTS[options.optimizer] or bool(options.momentum)
    return found._replace(optimizer=found.optimizer - NUMBER * (MOMENTS["adamw"] - moments))


def _rows_of_fullest(lengths: numpy.ndarray, batch: tuple[int, int]) -> tuple[int, int]:
    """Rows, and tokens of each, of the batch that has most."""
    rows = numpy.clip(batch[1] // numpy.maximum(lengths, 1), 1, min(batch[0], len(lengths)))
    most = int((rows * lengths).argmax())
    return int(rows[most]), int(lengths[most])


def _by_shape(shape: Shape, state: State, batch: tuple[int, int], copies: int) -> tuple[Work, float]:
    """What a step does, and bytes of the fullest: of rows of tokens."""
    ranks, lengths = state.group.size, numpy.maximum(state.encoded.lengths, 1)
    met = (lengths.astype(float) ** 2).sum() / lengths.sum()  # length of the row in which a token stands
    tokens = copies * lengths.sum() / state.epoch_steps / ranks
    rows = max(1, round(tokens / met))
    begun = Layout(
        data=ranks, sharded="weights" if state.options.sharded else "none",
        checkpointing="full" if state.options.gradient_checkpointing else "none",
        fused=state.runtime.device == "cuda" or (not shape.dropout and met > SHORT),
    )  # fmt: skip
    precision, learnt = _states(state), _learnt(state)
    work = roofline.work(shape, replace(begun, part_rows=rows), round(tokens / rows), precision, learnt=learnt)
    rows, length = _rows_of_fullest(lengths, batch)
    parts = replace(begun, part_rows=-(-copies * rows // (ranks * state.parts)), parts=state.parts)
    return work, layout.memory(shape, parts, length, precision, learnt=learnt, heap=state.runtime.device == "cpu").total


def _by_pass(state: State, batch: tuple[int, int], copies: int) -> tuple[Work, float] | None:
    """The same of any network, by a pass of it without weights over a row of mean length; None where there can be none."""
    lengths, ranks = numpy.maximum(state.encoded.lengths, 1), state.group.size
    precision, learnt, again = _states(state), _learnt(state), state.options.gradient_checkpointing
    given = partial(_like_the_mean, state)
    try:
        outline = counted.outline(_plain(state.learner.model))
        once = counted.passed(outline, given(1))
        freed = counted.held_a_row(outline, given, again) if state.runtime.device == "cpu" else 0.0
    except Exception:  # a model's own code runs, which may look at numbers that are not there
        return None
    rows, numbers = _mean_rows(state, copies), sum(p.numel() for p in state.model.parameters())
    each = precision.weight + learnt * (precision.gradient + precision.optimizer)
    kept = once.kept * precision.activation / NUMBER
    moved = rows * (3 + again) * kept + roofline.OPTIMIZER_PASSES * numbers * each
    many, length = _rows_of_fullest(lengths, batch)
    fullest = float(many * length / lengths[_middle(lengths)] * copies / ranks / state.parts)
    if freed:  # gradients come as activations go
        freed *= fullest * precision.activation / NUMBER
        held = numbers * (precision.weight + learnt * precision.optimizer) + max(freed, numbers * learnt * precision.gradient)
    else:
        held = numbers * each + fullest * kept / (max(1, len(state.blocks)) if again else 1)
    return Work(rows * once.flops * (2 + learnt + again), 0.0, 0.0, moved), held


def _of_a_probe(state: State, batch: tuple[int, int], copies: int) -> tuple[Work, float] | None:
    """The same where the body answers and what reads it learns, which is next to nothing."""
    once = _once(state.learner.model, state)
    if once is None:
        return None
    lengths, numbers = numpy.maximum(state.encoded.lengths, 1), sum(p.numel() for p in state.model.parameters())
    rows, length = _rows_of_fullest(lengths, batch)
    fullest = float(rows * length / lengths[_middle(lengths)] * copies / state.group.size / state.parts)
    passing = fullest * once.kept * _states(state).activation / NUMBER / len(state.blocks)  # a block lets go of what the next has read
    return _answers(once, state, copies), numbers * _states(state).weight + passing


def _answers(once: counted.Pass, state: State, copies: int) -> Work:
    """A forward pass over the rows of a step."""
    rows = _mean_rows(state, copies)
    return Work(rows * once.flops, 0.0, 0.0, rows * once.kept * _states(state).activation / NUMBER)


def _once(model: PreTrainedModel, state: State) -> counted.Pass | None:
    """A forward pass over a row of mean length; None where there can be none without weights."""
    try:
        return counted.passed(counted.outline(_plain(model)), _like_the_mean(state, 1))
    except Exception:  # as above
        return None


def _middle(lengths: numpy.ndarray) -> int:
    """Number of a row of mean length."""
    return int(abs(lengths - lengths.mean()).argmin())


def _like_the_mean(state: State, rows: int) -> dict[str, Any]:
    """Inputs without numbers of so many rows of mean length, and without a mask, at whose numbers models look: nothing is padding."""
    found = state.encoded.batch([_middle(numpy.maximum(state.encoded.lengths, 1))] * rows).inputs
    return {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in found.items() if name != "attention_mask"}


def _mean_rows(state: State, copies: int) -> float:
    """Rows of mean length that hold as much as what a rank computes in a step."""
    lengths = numpy.maximum(state.encoded.lengths, 1)
    return float(copies * lengths.sum() / lengths[_middle(lengths)] / state.epoch_steps / state.group.size)


def _plain(model: PreTrainedModel) -> Any:
    """Its config, naming its class, so that it is built again."""
    config = copy.copy(model.config)
    config.architectures = [type(model).__name__]
    return config


def warnings(told: Foreseen, free: float) -> list[str]:
    """What a person should know before it begins, a line each.

    free   bytes that a training may take, with those that the model's weights take already
    """
    found = list[str]()
    if told.bytes > free:
        room = f"this training needs {amount('bytes', told.bytes)} of memory and {amount('bytes', free)} are free"
        found.append(f"{room}: pass --batch-tokens auto or --gradient-checkpointing, or choose a smaller model")
    seconds, low, high = (told.steps * each / 3600 for each in (told.step_s, told.low_s, told.high_s))
    if seconds * 3600 > LONG_S:
        took = f"this training takes about {seconds:,.1f} hours (80 %: {low:,.1f} to {high:,.1f}) on {told.on}"
        found.append(f"{took}: pass fewer --epochs or fewer rows, or choose a smaller model; penjing plan says what other hardware takes")
    return found


class Plan:
    """The plan of a training, and what it takes; from before the training makes anything on."""

    def __init__(self, device: str):
        self._device, (self._held, self._free) = device, held_and_free(device)
        self._told: Foreseen | None = None

    def begin(self, state: State, batch: tuple[int, int], copies: int, teacher: PreTrainedModel | None) -> None:
        """Make the plan of a training that begins now (`foresee`), and say on standard error, quiet or not, what speaks against it."""
        self._told = foresee(state, batch, copies, teacher)
        self._weights = NUMBER * sum(p.numel() for p in state.model.parameters())  # which are held already
        if self._told:
            share = state.group.size if self._device == "cpu" else 1
            for line in warnings(self._told, self._weights + self._free / share):
                say(f"warning: by the plan {line}")
        self._counts = restart_peak(self._device)

    def kept(self, points: Sequence[tuple[int, float, float]]) -> dict[str, Any] | None:
        """The plan of the steps that were made, and what they took, for a report; None where nothing was told.

        points   of the curve of losses: step, seconds so far
        """
        told = self._told
        if told is None or not points:
            return None
        steps, seconds = points[-1][:2]
        return {
            "on": told.on, "seconds": steps * told.step_s, "low_s": steps * told.low_s, "high_s": steps * told.high_s, "took_s": seconds,
            "bytes": told.bytes, "took_bytes": self._weights + peak_bytes(self._device) - self._held if self._counts else None,
        }  # fmt: skip
