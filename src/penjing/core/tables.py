"""The tables that come with penjing: accelerators and processors, and runs that really happened. Each row names its source and date."""

import csv
import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from penjing.core.errors import OptionError, nearest

TABLES = Path(__file__).parents[1] / "tables"
Precision = Literal["fp32", "tf32", "bf16", "fp16", "fp8"]
"""What the products of a training are computed in."""


@dataclass(frozen=True)
class Device:
    """One accelerator, or one processor with all its cores. Rates are of dense products, as the maker states them, and in one direction.

    reached            whether rates were measured rather than stated
    memory_gib         of one device
    memory_gb_s        10⁹ bytes a second from that memory
    fp32_tflops ...    10¹² operations a second; None where there are no such units
    link_gb_s          to the other devices of a node; None where there are none
    network_gb_s       to other nodes, each device's share
    devices_per_node   which the link joins; of a TPU its pod
    watts              at full load
    """

    name: str
    aliases: str
    kind: str
    reached: bool
    memory_gib: float
    memory_gb_s: float
    fp32_tflops: float | None
    tf32_tflops: float | None
    bf16_tflops: float | None
    fp16_tflops: float | None
    fp8_tflops: float | None
    int8_tops: float | None
    link_gb_s: float | None
    network_gb_s: float | None
    devices_per_node: int
    usd_per_hour: float | None
    watts: float | None
    source: str
    date: str

    def peak(self, precision: str) -> float:
        """Operations a second in this precision; where there are no units for it, what torch computes in instead.

        tf32 falls back to fp32; bf16 to fp16 of the same units, else to fp32; fp16 to bf16, else to fp32; fp8 to bf16.
        """
        tensor = self.bf16_tflops or self.fp16_tflops
        rates = {
            "fp32": (self.fp32_tflops,),
            "tf32": (self.tf32_tflops,),
            "bf16": (tensor,),
            "fp16": (self.fp16_tflops, tensor),
            "fp8": (self.fp8_tflops, tensor),
        }
        found = [rate for rate in (*rates[precision], self.fp32_tflops, tensor) if rate]
        return 1e12 * found[0]


@dataclass(frozen=True)
class Run:
    """A training that really happened, under the conditions that its source states.

    family          runs of one source, of which none may tell another
    model           what it is called; new:<size> is counted, of others the numbers stand here (`maths.cost.Shape`)
    hardware        a name of the table of devices; ranks are so many of them
    tensor, pipeline, context, interleaved, sharded    how they share the model and its rows out (`maths.layout.Layout`)
    length          tokens of a row; batch_rows are those of a step, part_rows those that a copy computes at once
    image           of rows of pixels: height x width x channels
    precision       of the products; states: in what numbers weights, gradients and moments stand (`maths.cost.PRECISIONS`)
    attention       "scores" keeps them, "flash" does not
    kernels         "eager" one at a time, "kernels" some written as one, "compiled"
    loss            how it was computed over the vocabulary (`maths.cost.Loss`)
    measure, value  what was published; "TFLOP/s" count all scores, and no recomputation unless so said
    memory_gib      most of a rank, of which memory_of tells what: allocated or reserved by torch, resident of a process
    """

    name: str
    family: str
    model: str
    layers: int | None
    hidden: int | None
    heads: int | None
    kv_heads: int | None
    head_size: int | None
    feed_forward: int | None
    gated: bool
    vocabulary: int | None
    tied: bool
    stage: str
    method: str
    hardware: str
    ranks: int
    tensor: int
    pipeline: int
    context: int
    interleaved: int
    sharded: Literal["none", "optimizer", "gradients", "weights"]
    length: int
    image: str
    batch_rows: int
    part_rows: int
    precision: Precision
    states: str
    checkpointing: Literal["none", "selective", "operations", "full"]
    attention: Literal["scores", "flash"]
    kernels: str
    loss: Literal["chunked", "eager", "parallel"]
    measure: str
    value: float
    memory_gib: float | None
    memory_of: Literal["allocated", "reserved", "resident"] | None
    note: str
    source: str
    date: str


@functools.cache
def runs() -> tuple[Run, ...]:
    """The table of graded runs, in its order."""
    return tuple(Run(**row) for row in _read("graded_runs.csv", Run))


@functools.cache
def devices() -> tuple[Device, ...]:
    """The table of hardware, in its order."""
    return tuple(Device(**row) for row in _read("hardware.csv", Device))


def device(name: str) -> Device:
    """One row of it, by name or alias, whatever the case.

    Raises OptionError with the nearest names where there is none.
    """
    known = {alias: found for found in devices() for alias in (found.name, *filter(None, found.aliases.split(";")))}
    if name.upper() not in known:
        raise OptionError(
            f"no hardware called {name!r}", wanted=nearest(name.upper(), known), fix="penjing plan --measure-here is this machine"
        )
    return known[name.upper()]


def _read(file: str, kind: type) -> list[dict[str, Any]]:
    """The rows of a table as keywords of a dataclass; an empty cell is None where the field may be None."""
    hints = get_type_hints(kind)
    with (TABLES / file).open(encoding="utf-8", newline="") as lines:
        return [{field.name: _value(row[field.name], hints[field.name]) for field in fields(kind)} for row in csv.DictReader(lines)]


def _value(cell: str, hint: Any) -> Any:
    options = get_args(hint) or (hint,)
    if not cell and type(None) in options:
        return None
    if bool in options:
        return cell == "yes"
    return cell if get_origin(options[0]) or isinstance(options[0], str) else options[0](cell)
