"""How long a step of a training takes: what a rank computes, moves and sends, each at its hardware's rate, times how far that is missed.

The roofline (Williams, Waterman, Patterson 2009) bounds a kernel by the units that compute or by the memory; a step is a row of kernels, so
here its times add up. No run reaches the rates that makers state. By how much each kind of work misses them is fitted across runs that
really happened, one factor a kind, all runs together; nothing is fitted to one run, a model or a maker.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from penjing.core.tables import Device
from penjing.maths import cost
from penjing.maths.cost import Precision, Shape
from penjing.maths.layout import Layout, volume

FORWARD, BACKWARD = 1.0, 2.5  # attention that keeps no scores computes them again: five products for two (Dao 2023, section 3.1)
OPTIMIZER_PASSES = 2  # over weights, gradients and moments: read and written


class Work(NamedTuple):
    """What a rank does in one step; of a pipeline the mean of its stages.

    products    operations of blocks with their weights
    told        those of the head, in 16 bits where the products are in 8
    attention   those of scores and of what is read by them, alike
    moved       bytes that go to memory and back between products
    sent        bytes to ranks that share blocks with it, which wait for them: tensor and expert parallel
    beside      bytes to other copies of the model and around the ring of a long row, while it computes
    neighbours  ranks that hear `sent`, the closest ones; ranks: all
    idle        time that a pipeline waits, as a share of its work
    """

    products: float
    told: float
    attention: float
    moved: float
    sent: float = 0.0
    beside: float = 0.0
    neighbours: int = 1
    ranks: int = 1
    idle: float = 0.0


def work(shape: Shape, layout: Layout, length: int, precision: Precision, *, learnt: float = 1.0, added: int = 0) -> Work:
    """What a Transformer's step is made of.

    length           tokens of a row
    learnt, added    share of the weights that learn, and parameters that learn beside them (`layout.memory`)

    A causal kernel that keeps no scores skips half of them. Each number that a block would keep for the backward pass is taken as written
    and read once in each pass; weights, gradients and moments twice a step.
    """
    forward = cost.forward_flops(shape, length)
    blocks, again = cost.forward_flops(replace(shape, head=False), length).matrices, layout.checkpointing
    told = forward.matrices - blocks
    products = blocks * (2 + learnt + {"full": 1.0, "operations": 0.5}.get(again, 0.0))
    seen = 0.5 if layout.fused and shape.causal else 1.0
    attention = forward.attention * seen * (FORWARD + (BACKWARD if layout.fused else 2) + (again in ("full", "selective")))
    tokens = layout.parts * layout.part_rows * length / layout.context  # of a copy
    share = layout.tensor * layout.pipeline
    numbers = (learnt * cost.parameters(shape).total + added) / share / layout.shares("optimizer")
    states = OPTIMIZER_PASSES * numbers * (precision.weight + precision.gradient + precision.optimizer)
    passes = 3 + (again in ("full", "operations"))
    sends = volume(shape, layout, length, precision, learnt=learnt, added=added)
    return Work(
        products * tokens / share,
        told * (2 + learnt) * tokens / share,
        attention * tokens / share,
        passes * _kept(shape, layout, length, tokens, precision) / layout.pipeline + states,
        sends.tensor + sends.expert,
        sends.data + sends.context,
        layout.tensor * layout.expert,
        layout.ranks,
        cost.bubble(layout.pipeline, layout.parts, layout.interleaved),
    )


def _kept(shape: Shape, layout: Layout, length: int, tokens: float, precision: Precision) -> float:
    """Bytes that all blocks would keep without checkpointing."""
    kinds = ((True, shape.layers - shape.expert_blocks), (False, shape.expert_blocks))
    each = functools.partial(
        cost.activation_bytes, shape, length, tokens, number=precision.activation, fused=layout.fused, tensor=layout.tensor,
        sequence=layout.sequence,
    )  # fmt: skip
    return sum(times * each(dense=dense) for dense, times in kinds if times)


def ideal(done: Work, device: Device, precision: str) -> np.ndarray:
    """(5,) seconds at the rates of the hardware, each with its share of pauses: products, the same where their rate is stated and not
    measured, attention, what is moved, what is sent."""
    narrow, wide = device.peak(precision), device.peak("bf16" if precision == "fp8" else precision)
    products = done.products / narrow + done.told / wide
    found = np.array([
        products, 0.0 if device.reached else products, done.attention / wide,
        done.moved / (1e9 * device.memory_gb_s), done.sent / rate(device, done.neighbours, 1),
    ])  # fmt: skip
    return found * (1 + done.idle)


def at_least(done: Work, device: Device) -> float:
    """Seconds that what is sent beside the computing takes, so that a step cannot be shorter."""
    return done.beside / rate(device, done.ranks, max(1, device.devices_per_node // done.neighbours))


def rate(device: Device, ranks: int, together: int) -> float:
    """Bytes a second around a ring of so many ranks: of the links of a node while all are in one; else at most of the network that
    `together` ranks of a node have, of which one is the ring's way out."""
    inside = 1e9 * (device.link_gb_s or device.memory_gb_s)
    if ranks <= device.devices_per_node or not device.network_gb_s:
        return inside
    return min(inside, 1e9 * together * device.network_gb_s)


def fit(ideals: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(k,) factors, none below 0, with which the sums of (n, k) ideal seconds come closest to (n,) true ones, in shares of these."""
    return nnls(ideals / seconds[:, None], np.ones(len(seconds)))[0]


class Graded(NamedTuple):
    """Runs as they are told by all others. told, low and high are (n,) seconds; factors are of all runs together."""

    told: np.ndarray
    low: np.ndarray
    high: np.ndarray
    factors: np.ndarray


def grade(ideals: np.ndarray, seconds: np.ndarray, groups: Sequence[Hashable], level: float = 0.8) -> Graded:
    """Tell each run by factors that are fitted to the runs of other groups alone, with a prediction interval.

    groups   (n,) what must not tell itself: a source, or a model of it

    The interval is that of the other groups' own errors when left out: a conformal one (Vovk, Gammerman, Shafer 2005, chapter 2; Barber,
    Candes, Ramdas, Tibshirani 2021, "Predictive inference with the jackknife+").

    Raises ValueError where there are fewer than two groups.
    """
    names = np.array([hash(group) for group in groups])
    if len(set(names)) < 2:
        raise ValueError("runs of one group cannot tell each other: leave-one-group-out needs at least 2")
    told = np.empty(len(seconds))
    for name in set(names):
        out = names == name
        told[out] = ideals[out] @ fit(ideals[~out], seconds[~out])
    errors = np.log(seconds / told)
    ends = np.array([interval(errors[names != name], level) for name in names])
    return Graded(told, told * np.exp(ends[:, 0]), told * np.exp(ends[:, 1]), fit(ideals, seconds))


def interval(errors: np.ndarray, level: float = 0.8) -> tuple[float, float]:
    """Ends between which the next of (n,) exchangeable errors lies with at least this probability: the order statistics of rank
    (n + 1) (1 - level) / 2 from either end; infinite where n is too small for them."""
    rank = int((len(errors) + 1) * (1 - level) / 2)
    if rank < 1:
        return -np.inf, np.inf
    ordered = np.sort(errors)
    return float(ordered[rank - 1]), float(ordered[-rank])
