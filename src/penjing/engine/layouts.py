"""Which layouts a number of ranks allows, the fastest that has room, and the command that asks for it.

`maths/layout.py` says what a layout costs. What penjing runs itself is copies of a model, whole or shared out (FSDP2); for layouts along
tensors, pipelines, rows and experts the flags are those of Megatron-LM, or of torchtitan where weights are shared out too.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from penjing.core.errors import ModelError, OptionError
from penjing.core.tables import Device, device
from penjing.maths import layout as layouts
from penjing.maths.cost import Checkpointing, Precision, Shape
from penjing.maths.layout import Layout, Memory, Sharded

USABLE = 0.92  # of a device's memory: contexts, buffers of collectives and gaps between tensors take the rest
LONG_ROW = 8192  # tokens from which a row may be shared out
MOST_RANKS = 1 << 20
_PARTS_TRIED = 4  # sizes of a part, each twice the one before
_STAGES = (1, 2, 4, 8)  # of a rank; embedding and head may stand for a block each (Llama 3, section 3.3.2)

EVERY: tuple[Sharded, ...] = ("none", "optimizer", "gradients", "weights")
AGAIN: tuple[Checkpointing, ...] = ("none", "operations", "full")
OWN_SHARDINGS: tuple[Sharded, ...] = ("none", "weights")
OWN_AGAIN: tuple[Checkpointing, ...] = ("none", "full")


class Choice(NamedTuple):
    """A layout with what its fullest rank holds, and seconds of a step."""

    layout: Layout
    memory: Memory
    seconds: float


def read_machine(text: str) -> tuple[int, Device]:
    """How many of which device: "1024xA100-80G", "laptop".

    Raises OptionError for a number that is none, and for a device that the table lacks, with the nearest names.
    """
    number, by, name = text.partition("x")
    if not by or number.strip("-0123456789."):
        return 1, device(text)
    if not number.isdigit() or not 1 <= int(number) <= MOST_RANKS:
        raise OptionError(f"--on cannot be {text!r}", wanted=f"a number from 1 to {MOST_RANKS:,}, x, and a device: 8xH100")
    return int(number), device(name)


def possible(shape: Shape, ranks: int, rows: int, length: int, node: int, fixed: dict[str, int]) -> Iterator[Layout]:
    """Every layout of so many ranks that divides the model and a step of `rows` of `length` tokens, before memory is asked.

    node    devices that a fast link joins: heads and widths are shared out within it
    fixed   what the user has chosen: tensor, pipeline, context, expert
    """
    along = {name: [fixed[name]] if name in fixed else None for name in ("tensor", "pipeline", "context", "expert")}
    tensors = along["tensor"] or [n for n in divisors(ranks) if n <= min(node, shape.heads) and not shape.heads % n]
    pipelines = along["pipeline"] or [n for n in divisors(ranks) if n <= shape.layers]
    contexts = along["context"] or [n for n in divisors(ranks) if n <= max(1, length // LONG_ROW)]
    for tensor, pipeline, context in itertools.product(tensors, pipelines, contexts):
        data, rest = divmod(ranks, tensor * pipeline * context)
        if rest or rows % max(data, 1) or not data:
            continue
        experts = along["expert"] or [n for n in divisors(data * context) if shape.experts and not shape.experts % n and n <= node] or [1]
        sizes = [n for n in divisors(rows // data) if n & (n - 1) == 0][:_PARTS_TRIED]
        stages = [n for n in _STAGES if n == 1 or (pipeline > 1 and 0 in ((shape.layers + ends) % (pipeline * n) for ends in (0, 2)))]
        for expert, part_rows, interleaved in itertools.product(experts, sizes, stages):
            begun = Layout(
                data=data, tensor=tensor, pipeline=pipeline, context=context, expert=expert, part_rows=part_rows,
                parts=rows // data // part_rows, interleaved=interleaved,
            )  # fmt: skip
            if layouts.misfit(shape, begun, length) is None:
                yield begun


def divisors(number: int) -> list[int]:
    """All of a number, from 1 on."""
    small = [n for n in range(1, int(number**0.5) + 1) if number % n == 0]
    return [*small, *(number // n for n in reversed(small) if n * n != number)]


def search(
    shape: Shape, begun: list[Layout], length: int, states: Callable[[Layout], Precision], room: float, seconds: Callable[[Layout], float],
    *, learnt: float = 1.0, added: int = 0, heap: bool = False, shardings: Sequence[Sharded] = EVERY,
    again: Sequence[Checkpointing] = AGAIN,
) -> list[Choice]:  # fmt: skip
    """What has room of the layouts, with each way to share out states and the first to compute again that has room; the fastest first.

    states    bytes of numbers under a layout
    room      bytes that a rank may hold
    seconds   of a step
    learnt, added, heap   as `layout.memory` has them
    shardings, again   what may be tried, `again` from what costs no time on

    Where nothing has room, the one choice that needs least.

    Raises ModelError where there is no layout.
    """
    found, least = list[Choice](), None
    for layout, kind in itertools.product(begun, shardings):
        if layout.shards == 1 and kind != shardings[0]:
            continue
        for checkpointing in again:
            tried = replace(layout, sharded=kind, checkpointing=checkpointing)
            held = layouts.memory(shape, tried, length, states(tried), learnt=learnt, added=added, heap=heap)
            if least is None or held.total < least.memory.total:
                least = Choice(tried, held, math.nan)
            if held.total <= room:
                found.append(Choice(tried, held, seconds(tried)))
                break
    if found:
        return sorted(found, key=lambda each: each.seconds)
    if least is None:
        problem = "no layout of so many ranks divides this model and this batch"
        raise ModelError(problem, wanted="ranks that divide the rows of a batch", fix="pass another --batch, or another number of --on")
    return [least._replace(seconds=seconds(least.layout))]


def own(layout: Layout) -> bool:
    """Whether penjing runs it itself: copies of a model, whole or shared out."""
    alone = layout.tensor == layout.pipeline == layout.context == layout.expert == 1
    return alone and layout.sharded in OWN_SHARDINGS and layout.checkpointing in OWN_AGAIN


def launch(layout: Layout, command: str, device: Device) -> str:
    """The command that asks for a layout: penjing's own where it runs it, else the flags of torchtitan or Megatron-LM.

    command   penjing's own, as far as the layout does not matter
    """
    if own(layout):
        return _own(layout, command, device)
    return _torchtitan(layout) if layout.sharded == "weights" else _megatron(layout)


def _own(layout: Layout, command: str, device: Device) -> str:
    words = [command, f"--batch-rows {layout.rows}"]
    words += [f"--parts {layout.parts}"] * (layout.parts > 1) + ["--gradient-checkpointing"] * (layout.checkpointing == "full")
    words += ["--device cuda"] * (device.kind == "gpu") + ["--sharded"] * (layout.sharded == "weights")
    if layout.ranks > device.devices_per_node:
        nodes = -(-layout.ranks // device.devices_per_node)
        return f"torchrun --nnodes {nodes} --nproc-per-node {device.devices_per_node} -m " + " ".join(words)
    return " ".join(words + [f"--ranks {layout.ranks}"] * (layout.ranks > 1))


def _torchtitan(layout: Layout) -> str:
    degrees = {
        "data_parallel_shard": layout.data, "tensor_parallel": layout.tensor, "pipeline_parallel": layout.pipeline,
        "context_parallel": layout.context, "expert_parallel": layout.expert,
    }  # fmt: skip
    words = [f"--parallelism.{name}_degree {number}" for name, number in degrees.items() if number > 1]
    words += [f"--training.local_batch_size {layout.part_rows}", f"--training.global_batch_size {layout.rows}"]
    modes = {"operations": "selective", "selective": "selective", "full": "full", "none": "none"}
    return " ".join(["torchrun ... -m torchtitan.train", *words, f"--activation_checkpoint.mode {modes[layout.checkpointing]}"])


def _megatron(layout: Layout) -> str:
    degrees = {
        "tensor-model-parallel-size": layout.tensor, "pipeline-model-parallel-size": layout.pipeline,
        "context-parallel-size": layout.context, "expert-model-parallel-size": layout.expert,
        "num-virtual-stages-per-pipeline-rank": layout.interleaved,
    }  # fmt: skip
    words = [f"--{name} {number}" for name, number in degrees.items() if number > 1]
    words += [f"--micro-batch-size {layout.part_rows}", f"--global-batch-size {layout.rows}"]
    words += ["--sequence-parallel"] * (layout.sequence and layout.tensor > 1)
    words += ["--use-distributed-optimizer"] * (layout.sharded != "none")
    again = {"full": ["--recompute-granularity full --recompute-method uniform"], "none": []}
    return " ".join(["torchrun ... pretrain_gpt.py", *words, *again.get(layout.checkpointing, ["--recompute-granularity selective"])])
