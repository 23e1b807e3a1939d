"""Which shapes a parent may be given, and what each would cost here, measured before any is trained."""

import functools
import itertools
import json
import math
import operator
from collections.abc import Sequence
from typing import Any

from torch.nn import Embedding

from penjing.core.contracts import Anatomy
from penjing.core.durable import write_text
from penjing.core.errors import ModelError
from penjing.core.find import find
from penjing.core.options import milliseconds
from penjing.core.progress import track
from penjing.engine import appraise, load
from penjing.engine.smaller import SHAPES, student, take_away
from penjing.engine.widths import dissected
from penjing.stages import prune, quantize
from penjing.stages._frame import stage_options
from penjing.stages._search import Candidate, Search, quantizing

SHARES = {"layers": (5 / 6, 2 / 3, 1 / 2, 1 / 3), "ffn": (0.75, 0.5, 0.25)}  # of what the parent has, each with each
WIDTHS = {"heads": (0.75, 0.5), "hidden": (0.75, 0.5)}  # each alone: with each of those there would be hundreds to time
BESIDE = {"heads": (), "hidden": ("layers", "ffn")}  # with half of them too, as a hidden width narrows the tables that no other does
CHANNEL_SHARES = (0.5, 0.34, 0.25, 0.17, 0.125)


def shapes(search: Search) -> list[Candidate]:
    """Every shape worth timing, from what the parent is made of.

    Raises ModelError where nothing can be removed, nothing quantized and no student was named.
    """
    model = load.load(search.whole, search.task, search.runtime).model
    parts, learning = dissected(model), {**vars(search.options.training), "unlabelled": search.options.unlabelled}
    taught = {**learning, "method": search.options.recovery}
    found = [Candidate("whole")] if search.options.quantize or search.whole is not search.base else []
    for share in CHANNEL_SHARES if parts.channels else ():
        words = {**learning, "method": "channels", "keep_share": share, "recovery": search.options.recovery}
        found.append(Candidate(f"channels {share:.0%}", (("prune", words),)))
    for shape in students(model, parts):
        named = ", ".join(f"{name} {number}" for name, number in shape.items())
        found.append(Candidate(named, (("distill", {**taught, **shape}),)))
    found += [Candidate(size, (("distill", {**taught, "student": size}),)) for size in search.options.students or []]
    if not found:
        raise ModelError(f"{search.base.path} has nothing that a method can remove", fix="pass --students new:<size>, or --quantize true")
    return found


def students(model: Any, parts: Anatomy) -> list[dict[str, int]]:
    """How many of each of SHAPES a student may have, of what is not named as many as its teacher."""
    sizes = [[{}, *({name: number} for number in _sizes(model, parts, name, shares))] for name, shares in SHARES.items()]
    found = [functools.reduce(operator.or_, shape) for shape in itertools.product(*sizes)]
    for name, shares in WIDTHS.items():
        halves = [{beside: number} for beside in BESIDE[name] for number in _sizes(model, parts, beside, [1 / 2])]
        found += [{**half, name: number} for number in _sizes(model, parts, name, shares) for half in ({}, *halves)]
    return [shape for shape in found if shape]


def _sizes(model: Any, parts: Anatomy, name: str, shares: Sequence[float]) -> list[int]:
    """Numbers below the parent's that a student may have of one of SHAPES, from many to few."""
    module = find(prune.METHODS, SHAPES[name])
    if not module.fits(parts):
        return []
    there = module.size(model.config, parts, math.inf)
    numbers = dict.fromkeys(module.size(model.config, parts, round(there * share)) for share in shares)
    return [number for number in numbers if number < there]


def time_untrained(candidates: list[Candidate], search: Search) -> float:
    """Bytes, milliseconds and work of every shape as it would be deployed, before any is trained; milliseconds of the parent in turn."""
    noted = search.work / "timing.json"
    if not noted.exists():
        write_text(noted, json.dumps(_timed(candidates, search)))
        search.clock.note()
    parent_ms, measures = json.loads(noted.read_text("utf-8"))
    for candidate, measured in zip(candidates, measures):
        vars(candidate).update(measured)
    return float(parent_ms)


def _timed(candidates: list[Candidate], search: Search) -> tuple[float, list[dict[str, float]]]:
    task, tune, runtime = search.task, search.data.role("tune"), search.runtime
    whole, folders, found = load.load(search.whole, task, runtime), [], []
    for candidate in track(candidates, "timing untrained shapes", len(candidates), runtime.quiet):
        folder, smaller = search.work / "timing" / candidate.name, _untrained(candidate, whole, search)
        if search.options.quantize:
            quick = quantizing(search.options, calibration_rows=8)
            folders.append(quantize.write_artefact(smaller, search.data, quick, quick.engine, folder)[0])
        else:
            folders.append(load.save(smaller, folder))
        tables = {id(m.weight): m.weight.numel() for m in smaller.model.modules() if isinstance(m, Embedding)}
        found.append({"bytes": folders[-1].bytes(), "work": smaller.parameters - sum(tables.values())})
    (parent, *measures), _ = appraise.compare_latency([search.base, *folders], task, tune, runtime)
    told = [{**each, "latency_ms": m["latency_ms"].value} for each, m in zip(found, measures)]
    if search.options.prefer == "throughput":
        batches = appraise.throughput(folders, task, tune, runtime)
        told = [{**each, "batch_ms": taken.median.value} for each, taken in zip(told, batches)]
    return parent["latency_ms"].value, told


def _untrained(candidate: Candidate, whole: Any, search: Search) -> Any:
    """The shape, its importance measured on a few rows."""
    for stage, words in candidate.steps:
        if stage == "prune":
            settings = find(prune.METHODS, words["method"]).Options(keep_share=words["keep_share"])
            return take_away(whole, search.data, words["method"], settings, search.runtime, scored=8).loaded
        shape = stage_options(stage, words).shape
        return student(whole, search.data, words.get("student"), shape, search.runtime, scored=8)
    return whole


def promising(candidates: list[Candidate], parent_ms: float, search: Search) -> list[Candidate]:
    """The shapes within the limits, of which one may be a share of the parent's milliseconds; the most costly first.

    Raises ModelError where there is none.
    """
    options = search.options
    slowest = milliseconds(options.max_latency, parent_ms) if options.max_latency else math.inf
    fitting = [c for c in candidates if c.bytes <= (options.max_bytes or math.inf) and c.latency_ms <= slowest]
    if not fitting:
        least = min(candidates, key=lambda c: c.bytes)
        raise ModelError(
            "no shape of this model is within --max-bytes and --max-latency",
            wanted=f"the smallest, {least.name}, has {least.bytes:,} bytes and takes {least.latency_ms:.3g} ms",
            fix="widen the limits, or pass --students new:<size>",
        )
    return sorted(fitting, key=lambda c: -c.cost(options.prefer))
