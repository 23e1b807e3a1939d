"""A model and a batch shared out among ranks: what each holds, what it sends, when it waits.

Ranks      copies of the model (data), each cut along blocks (pipeline), heads and widths (tensor) and rows (context); of the data and
           context ranks together each may keep a share of optimizer, gradients and weights (ZeRO 1 to 3), and some experts (expert)
Sources    Rajbhandari et al. 2020, "ZeRO"; Narayanan et al. 2021, "Megatron-LM"; Korthikanti et al. 2022, section 4.2; Liu et al. 2023,
           "Ring attention"; Lepikhin et al. 2021, "GShard"; Zhao et al. 2023, "PyTorch FSDP"
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from penjing.maths import cost
from penjing.maths.cost import Checkpointing, Loss, Precision, Shape, Weight

Sharded = Literal["none", "optimizer", "gradients", "weights"]
"""What of a copy is shared out among its ranks: nothing, or ZeRO 1, 2, 3 (FSDP), each with what stands before it."""
_SHARES = ("none", "optimizer", "gradients", "weights")
PASSING = 0.3  # of what a block keeps: gradients on their way through it, where what was kept is freed as they come
GATHERED = 2  # blocks whose weights a rank has whole at once: the one that runs and the one that comes


@dataclass(frozen=True)
class Layout:
    """How many ranks share out what, and in which parts a batch runs.

    data, tensor, pipeline, context   ranks along each; their product is all
    expert        of the data and context ranks, among how many experts are shared out
    sharded       see above; over data x context ranks
    sequence      whether what lies between heads and feed-forward is shared out by `tensor` too
    interleaved   stages of the pipeline that each rank has
    part_rows     rows of a part (micro-batch) of one copy; parts: how many a step has
    """

    data: int = 1
    sharded: Sharded = "none"
    tensor: int = 1
    sequence: bool = True
    pipeline: int = 1
    interleaved: int = 1
    context: int = 1
    expert: int = 1
    part_rows: int = 1
    parts: int = 1
    checkpointing: Checkpointing = "none"
    fused: bool = True

    @property
    def ranks(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline * self.context

    @property
    def shards(self) -> int:
        """Ranks that share out a copy's states."""
        return self.data * self.context

    @property
    def rows(self) -> int:
        """Of a step, on all ranks."""
        return self.data * self.part_rows * self.parts

    def shares(self, what: Sharded) -> int:
        """Into how many parts optimizer, gradients or weights are shared out."""
        return self.shards if _SHARES.index(self.sharded) >= _SHARES.index(what) else 1


class Memory(NamedTuple):
    """Bytes of a rank at its fullest, by part.

    gathered      weights of blocks whole, and their gradients, while states are shared out
    activations   what blocks keep for the backward pass, of all parts under way
    working       the fullest moment beside that: logits and their gradients, or a block's backward pass
    """

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    working: float

    @property
    def total(self) -> float:
        """Of all parts."""
        return sum(self)


class Volume(NamedTuple):
    """Bytes that a rank sends in a step, by what for."""

    data: float
    tensor: float
    pipeline: float
    context: float
    expert: float

    @property
    def total(self) -> float:
        """Of all."""
        return sum(self)


def misfit(shape: Shape, layout: Layout, length: int) -> str | None:
    """Why a layout cannot be: what it does not divide; None where it can."""
    need = [
        ("tensor", layout.tensor, "heads", shape.heads),
        ("tensor", layout.tensor, "heads of keys and values", shape.k if shape.k % layout.tensor and layout.tensor % shape.k else 0),
        ("tensor", layout.tensor, "feed-forward", shape.feed_forward),
        ("context", 2 * layout.context if layout.context > 1 else 1, "tokens of a row", length),
        ("expert", layout.expert, "experts", shape.experts),
        ("expert", layout.expert, "data x context ranks", layout.shards),
        ("interleaved", layout.pipeline if layout.interleaved > 1 else 1, "parts", layout.parts),
    ]
    if layout.pipeline * layout.interleaved > shape.layers:
        return f"a pipeline of {layout.pipeline} x {layout.interleaved} stages is longer than the {shape.layers} blocks"
    return next((f"{name} {by} does not divide {number:,} {what}" for name, by, what, number in need if number % by), None)


def stage_blocks(shape: Shape, layout: Layout, stage: int) -> tuple[int, int]:
    """Dense blocks and blocks with experts on a stage of the pipeline; where they do not come out even the first stages have one more."""
    even, more = divmod(shape.layers, layout.pipeline)
    begin = stage * even + min(stage, more)
    end = begin + even + (stage < more)
    dense = shape.layers - shape.expert_blocks
    first = max(0, min(end, dense) - begin)
    return first, end - begin - first


@cache
def _block_numbers(shape: Shape, tensor: int, expert: int, shards: int, dense: bool) -> int:
    return sum(_local_numbers(weight, tensor, expert, shards) for weight in cost.block_weights(shape, dense))


@cache
def _outer_numbers(shape: Shape, tensor: int, shards: int, first: bool, last: bool) -> int:
    """Of tables on the first stage, and of norms and head on the last; a tied head that is not with its table is a tensor of its own."""
    there = [weight for weight in cost.outer_weights(shape) if (first if weight.part == "embedding" else last)]
    if last and not first and shape.tied and shape.head:
        there.append(Weight("head", (shape.vocabulary, shape.hidden), 0))
    return sum(_local_numbers(weight, tensor, 1, shards) for weight in there)


def _local_numbers(weight: Weight, tensor: int, expert: int, shards: int) -> int:
    """Numbers of all copies of a tensor on the rank that has most; `shards` ranks cut it along its first dimension, as FSDP2 does."""
    copies = weight.copies
    if weight.part == "expert":
        copies, shards = copies // expert, -(-shards // expert)
    first, *rest = (-(-size // tensor) if number == weight.split else size for number, size in enumerate(weight.dims))
    return copies * -(-first // shards) * math.prod(rest)


def weight_numbers(shape: Shape, layout: Layout, stage: int = 0, shards: int | None = None) -> int:
    """Numbers of weights on the fullest rank of a stage.

    shards   ranks that share them out; those of the layout where None
    """
    shards = layout.shares("weights") if shards is None else shards
    dense, sparse = stage_blocks(shape, layout, stage)
    found = _outer_numbers(shape, layout.tensor, shards, stage == 0, stage == layout.pipeline - 1)
    for blocks, kind in ((dense, True), (sparse, False)):
        found += blocks * _block_numbers(shape, layout.tensor, layout.expert, shards, kind) if blocks else 0
    return found


def memory(
    shape: Shape, layout: Layout, length: int, precision: Precision, *, learnt: float = 1.0, added: int = 0, loss: Loss = "chunked",
    heap: bool = False,
) -> Memory:  # fmt: skip
    """Bytes of the fullest rank of a training.

    length   tokens of a row
    learnt   share of the weights that learn; the others have neither gradients nor moments
    added    parameters that learn beside them, such as adapters; whole on each rank unless shared out
    heap     whether the system has back at once what is freed, as on a processor where memory is short; a GPU's allocator keeps it
    """
    stages = {0, layout.pipeline - 1}
    return max((_stage_memory(shape, layout, length, precision, each, learnt, added, loss, heap) for each in stages), key=lambda m: m.total)


def _stage_memory(
    shape: Shape, layout: Layout, length: int, precision: Precision, stage: int, learnt: float, added: int, loss: Loss, heap: bool
) -> Memory:  # fmt: skip
    kinds: tuple[Sharded, ...] = ("weights", "gradients", "optimizer")
    shares = [layout.shares(kind) for kind in kinds]
    whole, split, moments = (weight_numbers(shape, layout, stage, share) for share in shares)
    more = [added / layout.tensor / layout.pipeline / share for share in shares]
    dense, sparse = stage_blocks(shape, layout, stage)
    gathered = 0.0
    if layout.shares("weights") > 1:
        block = _block_numbers(shape, layout.tensor, layout.expert, 1, not sparse)
        outer = _outer_numbers(shape, layout.tensor, 1, stage == 0, stage == layout.pipeline - 1)  # whole from begin to end (FSDP2)
        summed = block * (precision.activation + precision.gradient) * (learnt > 0)  # as it was computed, and as it is summed
        gathered = precision.activation * (block * GATHERED + outer) + summed
    tokens = layout.part_rows * length / layout.context
    kept = dense * _kept(shape, layout, length, tokens, precision, layout.checkpointing, True)
    kept += sparse * _kept(shape, layout, length, tokens, precision, layout.checkpointing, False)
    if layout.pipeline > 1:  # a stage keeps what it gave to the next
        kept += tokens * precision.activation * shape.hidden / (layout.tensor if layout.sequence else 1)
    passed = block_kept = _kept(shape, layout, length, tokens, precision, "none", not sparse)  # by its backward pass: as many gradients
    if layout.checkpointing == "full":
        passed *= 2  # and these, computed again
        if layout.sequence:  # both parts of a block read what they gather
            passed += 2 * precision.activation * tokens * shape.hidden * (1 - 1 / layout.tensor)
        if layout.context > 1:  # keys and values of the whole row, for each head, and their gradients
            passed += 2 * precision.activation * layout.part_rows * length * shape.heads * (shape.d + shape.dv) / layout.tensor
    head = 0.0
    if stage == layout.pipeline - 1 and shape.head:
        head = cost.head_bytes(
            shape, tokens, number=precision.activation, tensor=layout.tensor, sequence=layout.sequence, loss=loss
        )  # fmt: skip
    found = Memory(
        precision.weight * (whole + more[0]),
        precision.gradient * (learnt * split + more[1]),
        precision.optimizer * (learnt * moments + more[2]),
        gathered,
        kept * under_way(layout, stage),
        max(head, passed),
    )
    return _as_freed(found, layout, block_kept, head) if heap else found


def _as_freed(found: Memory, layout: Layout, block_kept: float, head: float) -> Memory:
    """The fuller of two moments: as a backward pass begins there are no gradients of weights yet, as it ends no activations of others."""
    again = block_kept if layout.checkpointing == "full" else 0.0
    gradients = found.gradients if layout.parts > 1 else 0.0  # those of the parts before
    begin = found._replace(gradients=gradients, working=max(head, again + PASSING * block_kept))
    end = found._replace(activations=0.0, working=(1 + PASSING) * block_kept)
    return max(begin, end, key=lambda each: each.total)


def _kept(shape: Shape, layout: Layout, length: int, tokens: float, precision: Precision, again: Checkpointing, dense: bool) -> float:
    return cost.activation_bytes(
        shape, length, tokens, number=precision.activation, fused=layout.fused, checkpointing=again, tensor=layout.tensor,
        sequence=layout.sequence, dense=dense,
    )  # fmt: skip


def under_way(layout: Layout, stage: int) -> float:
    """Parts whose activations a stage holds at once, one forward and one backward in turn (Korthikanti et al., section 4.2.3)."""
    p, v = layout.pipeline, layout.interleaved
    if v > 1 and stage == 0:
        return min(layout.parts, p * (1 + (p - 1) / (p * v)))
    return float(min(layout.parts, p - stage))


def volume(shape: Shape, layout: Layout, length: int, precision: Precision, *, learnt: float = 1.0, added: int = 0) -> Volume:
    """Bytes that a rank of the first stage sends in a step.

    Gradients are summed once a step; where they are shared out, for each part, because no rank has room to wait with them whole. Weights
    that are shared out are gathered twice for each part, others whose moments are shared out once a step (ZeRO, section 7); a block of
    tensor ranks sums four times a part (Narayanan et al., section 2.3), six with blocks computed again.
    """
    number, blocks = precision.activation, sum(stage_blocks(shape, layout, 0))
    mine = weight_numbers(shape, layout, 0, 1)
    sums = (learnt * mine + added / layout.tensor / layout.pipeline) * precision.gradient
    if layout.sharded == "none":
        data = cost.all_reduce(sums, layout.shards)
    else:
        gathered = 2 * layout.parts * mine if layout.sharded == "weights" else learnt * mine
        data = cost.gather(gathered * number, layout.shards)
        data += (layout.parts if layout.shares("gradients") > 1 else 1) * cost.gather(sums, layout.shards)
    tokens = layout.parts * layout.part_rows * length / layout.context
    stream = tokens * shape.hidden * number
    times = 6 if layout.checkpointing == "full" else 4
    tensor = blocks * times * cost.all_reduce(stream, layout.tensor)
    pipeline = stream / layout.tensor * layout.interleaved if layout.pipeline > 1 else 0.0
    keys = tokens * shape.k * (shape.d + shape.dv) * number / layout.tensor
    context = 3 * blocks * keys * (layout.context - 1)  # around the ring forward; backward their gradients too
    sparse = stage_blocks(shape, layout, 0)[1]
    expert = 4 * sparse * shape.active_experts * cost.gather(stream / layout.tensor, layout.expert)  # there and back, forward and backward
    return Volume(data, tensor, pipeline, context, expert)
