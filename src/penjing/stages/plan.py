"""Foresee what a model will need before it is run: memory, time, layout of ranks, cost; no weights are touched."""

import contextlib
import dataclasses
import itertools
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from penjing.core.errors import ModelError, OptionError
from penjing.core.model_dir import check_page, write_page
from penjing.core.options import Between, Dollars, build
from penjing.core.report import Report
from penjing.core.runtime import Runtime, versions
from penjing.core.tables import Device, runs
from penjing.maths import cost, roofline, scaling
from penjing.maths import layout as layouts
from penjing.maths.cost import PRECISIONS, Checkpointing, Shape
from penjing.maths.layout import Layout, Sharded

if TYPE_CHECKING:
    from penjing.engine.counted import Counted
    from penjing.engine.graded import Pace

FINETUNE_ROWS = 32
TOKENS_A_STEP = {1e9: 0.5e6, 5e9: 1e6, 1e11: 2e6, math.inf: 4e6}  # up to so many parameters (Brown et al. 2020, table 2.1)
TOKENS_A_PARAMETER = 20  # of pretraining where none are said (Hoffmann et al. 2022)
USUAL_LENGTH = 4096
SCALE_GROUP = 128  # weights in few bits that share a 16-bit scale
ALONG = {"tensor_ranks": "tensor", "pipeline_ranks": "pipeline", "context_ranks": "context", "expert_ranks": "expert"}


@dataclass(frozen=True)
class Options:
    """What shall be done with the model, on what; of the layout, what is not left to the search."""

    stage: Annotated[Literal["pretrain", "finetune", "serve"], "what shall be done"] = "finetune"
    method: Annotated[Literal["full", "lora"], "of finetune"] = "full"
    rank: Annotated[int, "of the updates of lora", Between(1, 1024)] = 8
    on: Annotated[str, "devices of the table: 8xH100, 1024xA100-80G, laptop"] = "1xH100"
    tokens: Annotated[float | None, "of a training in all, such as 300e9", Between(1, 1e17)] = None
    budget: Annotated[Dollars | None, "what a training may cost, 1000usd: how many tokens that buys", Between(0.01, 1e12)] = None
    context: Annotated[int | None, "tokens of a row; usually what the model reads, 4,096 at most", Between(1, 1 << 24)] = None
    batch: Annotated[int | None, "rows of a step on all devices, or that are answered at once", Between(1, 1 << 24)] = None
    bits: Annotated[Literal[2, 3, 4, 8, 16, 32], "of the weights of linears that are served, or that lora leaves as they are"] = 16
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], "of a training; auto: bf16 where there are units for it"] = "auto"
    tensor_ranks: Annotated[int | None, "ranks that share out heads and widths", Between(1, 4096)] = None
    pipeline_ranks: Annotated[int | None, "ranks that share out blocks", Between(1, 4096)] = None
    context_ranks: Annotated[int | None, "ranks that share out rows", Between(1, 4096)] = None
    expert_ranks: Annotated[int | None, "ranks that share out experts", Between(1, 4096)] = None
    sharded: Annotated[Sharded | None, "what ranks share out of a copy's states, each with what stands before it (ZeRO 1 to 3)"] = None
    checkpointing: Annotated[Checkpointing | None, "what is computed again in the backward pass"] = None
    data: Annotated[str | None, "rows to learn from: short trainings on parts of them tell how many are needed"] = None
    task: Annotated[str | None, "of these rows, where MODEL does not know it"] = None
    quality: Annotated[float | None, "that shall be reached, of the task's metric: how many rows that needs", Between(0, 1)] = None


def plan(model: str, *, out: str | Path | None = None, runtime: Runtime | None = None, **words: Any) -> Report:
    """What a model will need: parameters, operations, memory of a rank by part, whether it fits, layout, seconds, cost; or what it serves.

    model   a directory, a config.json, new:<size>, a published name such as gpt-3-175b, a hub id of those, or hf:org/name
    out     where a page is written that shows it beside the same plan on fewer and more devices; None for none

    Raises ModelError for a model that is not known or cannot be made, OptionError for hardware that is not known and sizes that do not
    divide.
    """
    options = build(Options, words)
    if out is not None:
        check_page(Path(out))
    if options.method == "lora" and options.stage != "finetune":
        raise OptionError(f"--method lora does not go with --stage {options.stage}", wanted="--stage finetune")
    if options.bits != 16 and not (options.stage == "serve" or options.method == "lora"):
        raise OptionError(f"--bits {options.bits} does not go with a training of all weights", wanted="--stage serve, or --method lora")
    if options.budget and (options.tokens or options.stage == "serve"):
        raise OptionError("--budget says how many tokens a training has", wanted="a training, without --tokens")
    if options.data and options.stage != "finetune":
        raise OptionError(f"--data does not go with --stage {options.stage}", wanted="--stage finetune")
    if not options.data and (options.task or options.quality is not None):
        raise OptionError("--task and --quality are of the rows of --data", wanted="--data too, or neither")
    from penjing.engine import counted
    from penjing.engine.layouts import read_machine

    ranks, device = read_machine(options.on)
    found = counted.counted(model, runtime or Runtime())
    length = _length(found, options)
    report = Report("plan", {"path": model, "parameters": found.parameters._asdict()}, options=dataclasses.asdict(options))
    report.notes, report.environment = list(found.notes), {"versions": versions()}
    report.facts = {"ranks": ranks, "device": dataclasses.asdict(device), "length": length}
    if found.shape is None:
        report.facts |= _by_passes(found, options, ranks, device, length, report.notes)
    elif options.stage == "serve":
        report.facts |= _served(found.shape, options, ranks, device, length)
    else:
        report.facts |= _trained(found.shape, options, ranks, device, length, model, report.notes)
    if options.data:
        from penjing.stages._learning_curve import rows_needed

        words = {name: value for name, value in (("task", options.task), ("method", options.method)) if value}
        report.facts["rows_needed"] = rows_needed(model, options.data, words, options.quality, runtime or Runtime())
    if out is not None:
        from penjing.engine import plan_page

        write_page(Path(out), plan_page.page_of(report, _beside(model, options, report, runtime)))
    return report


def _beside(model: str, options: Options, report: Report, runtime: Runtime | None) -> list[tuple[int, dict[str, Any]]]:
    """The facts of the same plan on an eighth to eight times as many devices, where so many share out its rows."""
    ranks, name = report.facts["ranks"], report.facts["device"]["name"]
    numbers = {round(ranks * 2.0**power) for power in range(-3, 4) if ranks * 2.0**power >= 1}
    same = {flag: value for flag, value in dataclasses.asdict(options).items() if value is not None and flag != "budget"}
    same |= {"batch": report.facts["rows"]} | ({"tokens": report.facts["tokens"]} if report.facts.get("tokens") else {})
    found = {ranks: report.facts}
    for number in numbers - {ranks}:
        with contextlib.suppress(OptionError, ModelError):  # a number of ranks that does not come out even
            found[number] = plan(model, runtime=runtime, **same | {"on": f"{number}x{name}"}).facts
    return sorted(found.items())


def _length(found: "Counted", options: Options) -> int:
    """Tokens of a row; 1 for what reads none.

    Raises OptionError for more than a table of positions has.
    """
    if found.model.main_input_name != "input_ids":
        if options.context:
            raise OptionError(f"{found.model.config.model_type} reads no tokens, and has no --context", wanted="no --context")
        return 1
    said = found.model.config.to_dict()
    most = next((said[name] for name in ("max_position_embeddings", "n_positions", "seq_length") if isinstance(said.get(name), int)), 512)
    if found.shape and found.shape.positions and (options.context or 0) > most:
        problem = f"--context {options.context:,} is longer than the table of positions of {found.name}"
        raise OptionError(problem, wanted=f"at most {most:,}")
    return options.context or min(most, USUAL_LENGTH)


def _rows(options: Options, numbers: int, ranks: int, length: int) -> int:
    """Rows of a step: as given, else as usual for the stage; a power of two times the odd part of the ranks, which can share them out."""
    if options.batch:
        return options.batch
    if options.stage == "finetune" or length == 1:
        return FINETUNE_ROWS * max(1, -(-ranks // FINETUNE_ROWS))
    tokens = next(tokens for most, tokens in TOKENS_A_STEP.items() if numbers < most)
    odd: int = ranks // (ranks & -ranks)
    return odd * 2 ** max(0, round(math.log2(tokens / length / odd)))


def _arithmetic(options: Options, device: Device) -> str:
    """The precision of a training on this device."""
    if options.precision != "auto":
        return options.precision
    return "bf16" if device.bf16_tflops else "fp16" if device.fp16_tflops else "fp32"


def _states(arithmetic: str, sharded: str, lora: bool = False, bits: int = 16) -> cost.Precision:
    """Bytes of numbers, as penjing's training holds them (engine/precision.py, engine/sharding.py)."""
    if arithmetic == "fp32":
        found = PRECISIONS["fp32"]
    else:
        found = PRECISIONS["autocast" if sharded == "weights" and not lora else "mixed-fp32-gradients"]
    return found._replace(weight=_few_bits(bits)) if lora and bits < 16 else found


def _few_bits(bits: int) -> float:
    """Bytes of a weight, its share of a scale with it."""
    return bits / 8 + (2 / SCALE_GROUP if bits < 16 else 0)


def _trained(shape: Shape, options: Options, ranks: int, device: Device, length: int, model: str, notes: list[str]) -> dict[str, Any]:
    from penjing.engine import graded, words
    from penjing.engine import layouts as choices

    own = {"shardings": choices.OWN_SHARDINGS, "again": choices.OWN_AGAIN}

    numbers, arithmetic = cost.parameters(shape), _arithmetic(options, device)
    lora = options.method == "lora"
    learnt, added = (0.0, cost.adapters(shape, options.rank)) if lora else (1.0, 0)
    rows = _rows(options, numbers.total, ranks, length)

    def states(layout: Layout) -> cost.Precision:
        return _states(arithmetic, layout.sharded, lora, options.bits)

    def work(layout: Layout) -> roofline.Work:
        return roofline.work(shape, layout, length, states(layout), learnt=learnt, added=added)

    def seconds(layout: Layout) -> float:
        return graded.step(work(layout), device, arithmetic).high_s  # the search finds where a model errs: its caution decides

    fixed = {name: vars(options)[flag] for flag, name in ALONG.items() if vars(options)[flag]}
    _require_divisible(model, shape, ranks, rows, length, fixed)
    begun = list(choices.possible(shape, ranks, rows, length, device.devices_per_node, fixed))
    room = choices.USABLE * device.memory_gib * 2**30
    chosen: dict[str, Any] = {"learnt": learnt, "added": added, "heap": device.kind == "cpu"}
    chosen |= {"shardings": [options.sharded]} if options.sharded else {}
    chosen |= {"again": [options.checkpointing]} if options.checkpointing else {}
    found, ours = list[choices.Choice](), [layout for layout in begun if choices.own(layout)]
    if ranks <= device.devices_per_node and ours:  # what penjing runs itself, where that will do
        found = choices.search(shape, ours, length, states, room, seconds, **{**own, **chosen})
    if not found or found[0].memory.total > room:
        found = choices.search(shape, begun, length, states, room, seconds, **chosen)
    best = found[0]
    sent = layouts.volume(shape, best.layout, length, states(best.layout), learnt=learnt, added=added)
    fits = best.memory.total <= room
    if not fits:
        notes.append(_short(best.memory.total, room))
    flops = cost.training_flops(shape, length, best.layout.checkpointing)
    facts: dict[str, Any] = {
        "precision": arithmetic, "rows": rows, "learnt": added or numbers.total, "fits": fits, "room_bytes": room,
        "layout": {**dataclasses.asdict(best.layout)}, "memory_bytes": {**best.memory._asdict(), "total": best.memory.total},
        "sent_bytes": sent._asdict(), "bubble": cost.bubble(best.layout.pipeline, best.layout.parts, best.layout.interleaved),
        "flops_a_token": {
            "forward": cost.forward_flops(shape, length)._asdict(), "training": flops, "model": cost.training_flops(shape, length)
        },
        "tried": len(begun), "launch": choices.launch(best.layout, _command(options, model), device),
    }  # fmt: skip
    most = max(graded.laid_out(run).shards for run in runs() if run.sharded == "weights")
    if best.layout.sharded == "weights" and best.layout.shards > most:
        notes.append(f"no graded run shares weights out among more than {most:,} ranks: fix --tensor-ranks or --pipeline-ranks to compare")
    pace = graded.step(work(best.layout), device, arithmetic)
    if pace.unseen_s:
        waited = words.three_digits(pace.unseen_s)
        notes.append(f"no graded run sends so much beside its products: the interval's end takes {waited} s of it as waited for")
    times = _time(options, pace, rows * length, numbers.active, ranks, device)
    facts |= times
    if options.budget and device.usd_per_hour:
        reached = cost.training_flops(shape, length) * times["tokens_a_second"] / ranks
        facts["optimal"] = scaling.compute_optimal(scaling.bought(options.budget, device.usd_per_hour, reached))._asdict()
    return facts


def _command(options: Options, model: str) -> str:
    """penjing's own, as far as the layout does not matter."""
    return f"penjing {options.stage} {model} DATA --out DIRECTORY" + f" --method lora --rank {options.rank}" * (options.method == "lora")


def _short(needed: float, room: float) -> str:
    return f"it does not fit: a rank needs {needed / 1e9:,.1f} GB at least, and {room / 1e9:,.1f} GB are usable; more ranks share it out"


def _require_divisible(model: str, shape: Shape, ranks: int, rows: int, length: int, fixed: dict[str, int]) -> None:
    """Raise OptionError where what the user has fixed of a layout cannot be."""
    if fixed.get("expert", 1) > 1 and not shape.experts:
        raise OptionError(f"{model} has no experts for --expert-ranks", wanted="a model with experts, such as mixtral-8x7b")
    product = math.prod(fixed.get(name, 1) for name in ("tensor", "pipeline", "context"))
    told = " x ".join(f"{name} {number}" for name, number in fixed.items() if name != "expert")
    if ranks % product:
        raise OptionError(f"{told} does not divide {ranks:,} ranks", wanted="a product that divides the number of --on")
    data = ranks // product
    tensor, pipeline, context, expert = (fixed.get(name, 1) for name in ALONG.values())
    said = layouts.misfit(shape, Layout(data=data, tensor=tensor, pipeline=pipeline, context=context, expert=expert), length)
    if said:
        raise OptionError(said, wanted="ranks that come out even", fix="pass another number, or leave the layout to the search")
    if len(fixed.keys() - {"expert"}) == 3 and rows % data:
        raise OptionError(f"{data:,} data ranks do not divide --batch {rows:,}", wanted=f"a multiple of {data:,}")


def _time(options: Options, pace: "Pace", tokens: int, active: int, ranks: int, device: Device) -> dict[str, Any]:
    """Seconds, cost and energy of a training; low and high are the ends of the interval that graded runs give."""
    low, seconds, high, _ = pace
    whole = options.tokens
    if options.budget:
        if device.usd_per_hour is None:
            raise OptionError(f"the table has no price of {device.name}", wanted="a device with a price", fix="pass --tokens instead")
        whole = tokens * max(1, int(options.budget / (device.usd_per_hour * ranks / 3600 * seconds)))
    elif whole is None and options.stage == "pretrain":
        whole = float(TOKENS_A_PARAMETER * active)
    facts: dict[str, Any] = {"step_s": seconds, "low_s": low, "high_s": high, "tokens_a_second": tokens / seconds, "tokens": whole}
    if whole is None:
        return facts
    total = math.ceil(whole / tokens) * seconds
    hours = total / 3600 * ranks
    facts |= {"steps": math.ceil(whole / tokens), "seconds": total, "device_hours": hours}
    facts["usd"] = hours * device.usd_per_hour if device.usd_per_hour else None
    facts["kwh"] = hours * device.watts / 1000 if device.watts else None
    return facts


def _served(shape: Shape, options: Options, ranks: int, device: Device, length: int) -> dict[str, Any]:
    """Memory of weights and keys and values, and the most tokens a second that reading them allows."""
    from penjing.engine.layouts import USABLE

    rows = options.batch or 1
    tables = sum(w.numbers for w in cost.outer_weights(shape))
    number = 4 if options.bits == 32 else 2
    weights = (cost.parameters(shape).total - tables) * _few_bits(options.bits) + tables * number
    cache = cost.cache_bytes(shape, length, rows, number)
    working = rows * (shape.vocabulary * 4.0 * shape.head + 4 * shape.hidden * number)
    room = USABLE * device.memory_gib * 2**30 * ranks
    head = shape.head * shape.vocabulary * shape.hidden
    read = (cost.read_numbers(shape, rows) - head) * _few_bits(options.bits) + head * number + cache
    flops = cost.forward_flops(shape, length).total
    peak = ranks * device.peak("bf16" if number == 2 else "fp32")
    total = weights + cache + working
    facts: dict[str, Any] = {
        "rows": rows, "fits": total <= room, "room_bytes": room, "cache_bytes_a_token": cost.cache_bytes(shape, 1, 1, number),
        "memory_bytes": {"weights": weights, "cache": cache, "working": working, "total": total},
        "flops_a_token": {"forward": cost.forward_flops(shape, length)._asdict()}, "prompt_s": rows * length * flops / peak,
    }  # fmt: skip
    if not shape.causal:
        return facts
    bandwidth, compute = read / (ranks * device.memory_gb_s * 1e9), rows * flops / peak
    token_s = max(bandwidth, compute)
    each = cost.cache_bytes(shape, length, 1, number) + working / rows
    facts |= {"token_s": token_s, "tokens_a_second": rows / token_s, "bound_by": "memory" if bandwidth >= compute else "arithmetic"}
    facts["most_rows"] = max(0, int((room - weights) / each))
    return facts


def _by_passes(found: "Counted", options: Options, ranks: int, device: Device, length: int, notes: list[str]) -> dict[str, Any]:
    """Of a model without a closed form: copies of it on all devices, by what a pass over meta tensors does and keeps."""
    from penjing.engine import counted, graded
    from penjing.engine.layouts import OWN_SHARDINGS, USABLE, divisors, launch

    if any(vars(options)[flag] for flag in ALONG):
        raise OptionError(
            f"{found.model.config.model_type} has no closed form, and is shared out by copies and shards alone",
            wanted="no --tensor-ranks, --pipeline-ranks, --context-ranks or --expert-ranks",
        )
    if options.method == "lora":
        raise OptionError(f"{found.model.config.model_type} has no closed form, and lora is planned by one", wanted="--method full")
    rows = _rows(options, found.parameters.total, ranks, length)
    if rows % ranks:
        raise OptionError(f"{ranks:,} ranks do not divide --batch {rows:,}", wanted=f"a multiple of {ranks:,}")
    arithmetic, numbers = _arithmetic(options, device), found.parameters.total
    one = counted.forward(found.model, 1, length)
    room = USABLE * device.memory_gib * 2**30
    if options.stage == "serve":
        number = _few_bits(options.bits)
        memory = {"weights": numbers * number, "working": one.kept / 4 * min(number, 4) * rows / ranks}
        seconds = rows / ranks * one.flops / device.peak(arithmetic)
        total = sum(memory.values())
        facts = {"memory_bytes": {**memory, "total": total}, "fits": total <= room, "room_bytes": room, "rows": rows, "prompt_s": seconds}
        return facts | {"flops_a_row": one.flops}
    freed = device.kind == "cpu"  # which has back at once what a step frees
    kept = counted.held_a_row(found.model, partial(counted.inputs, found.model, length=length)) if freed else one.kept
    kinds = [options.sharded] if options.sharded else OWN_SHARDINGS[: min(ranks, 2)]
    sizes = [n for n in divisors(rows // ranks) if n & (n - 1) == 0]
    for sharded, part_rows in itertools.product(kinds, reversed(sizes)):
        layout = Layout(data=ranks, sharded=sharded, part_rows=part_rows, parts=rows // ranks // part_rows)
        each = _states(arithmetic, sharded)
        shares = [layout.shares(kind) for kind in ("weights", "gradients", "optimizer")]
        parts = [numbers * size / share for size, share in zip(each, shares)]
        memory = dict(zip(("weights", "gradients", "optimizer"), parts))
        memory["activations"] = kept * each.activation / 4 * part_rows
        if freed and layout.parts == 1:
            memory[min("gradients", "activations", key=lambda name: memory[name])] = 0.0  # these come as those go
        total = sum(memory.values())
        if total <= room:
            break
    if total > room:
        notes.append(_short(total, room))
    moved = 3 * one.kept * each.activation / 4 * part_rows * layout.parts + roofline.OPTIMIZER_PASSES * sum(parts)
    work = roofline.Work(
        3 * one.flops * rows / ranks, 0.0, 0.0, moved, beside=cost.all_reduce(numbers * each.gradient, ranks), ranks=ranks
    )  # fmt: skip
    facts = {
        "precision": arithmetic, "rows": rows, "learnt": numbers, "fits": total <= room, "room_bytes": room,
        "layout": dataclasses.asdict(layout), "memory_bytes": {**memory, "total": total}, "flops_a_row": one.flops,
        "launch": launch(layout, _command(options, found.name), device),
    }  # fmt: skip
    return facts | _time(options, graded.step(work, device, arithmetic), rows * length, numbers, ranks, device)


def checked(json: bool) -> tuple[bool, str]:
    """Whether all bars hold, and every graded run told by the others, for a person or for programs."""
    from json import dumps

    from penjing.engine import graded

    rows = graded.check()
    bars = graded.bars(rows)
    held = all(bar.held for bar in bars)
    if not json:
        return held, graded.told(rows)
    found = [{**row._asdict(), "run": row.run.name, "time_error": row.time_error, "memory_error": row.memory_error} for row in rows]
    return held, dumps({"rows": found, "bars": [{**bar._asdict(), "held": bar.held} for bar in bars]}, ensure_ascii=False, indent=1)


def measured(json: bool) -> str:
    """This machine's rates, for a person or for programs; they are kept for the plans of trainings that begin here."""
    from json import dumps

    from penjing.engine.machine import keep, measure_here

    row = measure_here()
    keep(row)
    found = dataclasses.asdict(row)
    if json:
        return dumps(found, ensure_ascii=False, indent=1)
    return "\n".join(f"{name:<18} {value}" for name, value in found.items() if value not in (None, ""))


def told(report: Report) -> str:
    """A plan for a person, a line each."""
    from penjing.engine import words
    from penjing.engine.graded import MEMORY_WORST

    facts, options, device = report.facts, report.options, report.facts["device"]
    numbers = report.model["parameters"]
    counts = [words.amount("parameters", numbers["total"]) + " parameters"]
    counts += [words.amount("parameters", numbers["active"]) + " of them active"] if numbers["active"] != numbers["total"] else []
    method = f" by {options['method']}" if options["stage"] == "finetune" else ""
    where = f"{facts['ranks']:,} x {device['name']}" if facts["ranks"] > 1 else device["name"]
    head = f"{report.model['path']} ({', '.join(counts)}): {options['stage']}{method} on {where}, {_many(facts['rows'], 'row')}"
    lines = [head + (f" of {facts['length']:,} tokens" if facts["length"] > 1 else "")]
    memory, room = facts["memory_bytes"], facts["room_bytes"]
    sure = memory["total"] * (1 + MEMORY_WORST) <= room
    verdict = ("fits" if sure else "fits, by less than a plan may err") if facts["fits"] else "DOES NOT FIT"
    of = "of a rank " if facts["ranks"] > 1 and "layout" in facts else ""
    lines.append(f"memory {of}{words.amount('bytes', memory['total'])} of {words.amount('bytes', room)} usable: {verdict}")
    parts = [(name.replace("_", " "), words.amount("bytes", size), words.share(size / memory["total"])) for name, size in memory.items()]
    lines.append(words.aligned(("", "", ""), [part for part, size in zip(parts, memory.values()) if size and part[0] != "total"]))
    lines += _layout_lines(facts) if "layout" in facts else _serving_lines(facts)
    lines += _rows_lines(facts["rows_needed"]) if "rows_needed" in facts else []
    lines += [words.wrapped(f"note: {note}") for note in report.notes]
    return "\n".join(line for line in lines if line)


def _layout_lines(facts: dict[str, Any]) -> list[str]:
    from penjing.engine import words

    layout, unit = facts["layout"], "tokens" if facts["length"] > 1 else "rows"
    along = [f"{name} {layout[name]}" for name in ("data", "tensor", "pipeline", "context", "expert") if layout[name] > 1] or ["one rank"]
    along += [f"{layout['sharded']} shared out"] if layout["sharded"] != "none" else []
    along += [f"{layout['interleaved']} stages a rank"] if layout["interleaved"] > 1 else []
    again = {"none": "nothing", "full": "blocks"}.get(layout["checkpointing"], "some operations") + " computed again"
    lines = [f"layout  {', '.join(along)}; {_many(layout['parts'], 'part')} of {_many(layout['part_rows'], 'row')} a step; {again}"]
    if sent := sum(facts.get("sent_bytes", {}).values()):
        idle = f"; a pipeline waits {words.share(facts['bubble'])} of its work" if facts["bubble"] else ""
        lines.append(f"sent    {words.amount('bytes', sent)} by a rank in a step{idle}")
    step, low, high = (words.three_digits(facts[name]) for name in ("step_s", "low_s", "high_s"))
    lines.append(f"step    {step} s (80 %: {low} to {high}), {facts['tokens_a_second']:,.0f} {unit} a second")
    if "seconds" in facts:
        spent = [f"{facts['device_hours']:,.0f} device hours"]
        spent += [f"{facts['usd']:,.0f} USD"] if facts["usd"] else []
        spent += [f"{facts['kwh']:,.0f} kWh"] if facts["kwh"] else []
        days = facts["seconds"] / 86400
        length = f"{days:,.1f} days" if days >= 2 else words.duration(facts["seconds"])
        lines.append(f"whole   {facts['steps']:,} steps for {facts['tokens']:.3g} {unit}: {length}, {', '.join(spent)}")
    if "optimal" in facts:
        size, tokens = words.amount("parameters", facts["optimal"]["parameters"]), facts["optimal"]["tokens"]
        lines.append(f"best    so many operations are best spent on {size} parameters and {tokens:.3g} tokens (Hoffmann et al. 2022)")
    return [*lines, f"launch  {facts['launch']}"]


def _rows_lines(found: dict[str, Any]) -> list[str]:
    from penjing.engine import words

    def said(point: dict[str, Any]) -> str:
        share, low, high = (words.share(point[name]) for name in ("quality", "low", "high"))
        return f"{words.title(found['metric'])} {share} (90 %: {low} to {high})"

    seen = ", ".join(f"{words.share(1 - sum(runs) / len(runs))} of {rows:,}" for rows, runs in found["errors"].items())
    lines = [f"learnt  from parts of the rows, {words.title(found['metric'])}: {seen}"]
    lines += [f"rows    {found['now']['rows']:,} rows: {said(found['now'])}; twice as many: {said(found['twice'])}"]
    if aim := found.get("aim"):
        least, low, high = ("no number" if aim[name] is None else f"{aim[name]:,.0f}" for name in ("rows", "low", "high"))
        lines.append(f"aim     {words.share(aim['quality'])}: rows needed: {least} (90 %: {low} to {high})")
    return lines


def _many(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + "s" * (number != 1)


def _serving_lines(facts: dict[str, Any]) -> list[str]:
    from penjing.engine import words

    lines = [f"prompt  {words.three_digits(facts['prompt_s'])} s at least for all rows"]
    if "token_s" in facts:
        bound = f"{facts['tokens_a_second']:,.1f} a second at most, bound by {facts['bound_by']}"
        lines.append(f"tokens  {bound}; room for {facts['most_rows']:,} rows")
        lines.append(f"cache   {words.amount('bytes', facts['cache_bytes_a_token'])} a token and row")
    return lines
