"""What a directory on disk is worth, alone or beside its parent: quality, answers flipped, bytes, milliseconds.

Every stage ends here, so that every card is measured in one way.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from penjing.core.contracts import Prediction, Task
from penjing.core.examples import Examples
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Measure, Report
from penjing.core.runtime import Runtime
from penjing.engine import latency, samples
from penjing.engine.backends import open_backend
from penjing.engine.batches import Encoded
from penjing.engine.load import load_processor, task_name
from penjing.engine.measure import answer, by_group, differing, quality
from penjing.engine.verdict import floor_share, proof_facts, verdict
from penjing.maths.flips import discordant, flips

SLOW_MS = 5000.0  # for one row: beyond it samples, of which each token is a pass, are left out
TIMED_ROWS = 20  # rows that latency is measured on, one at a time
BATCHED, SETS, ROUNDS = 32, 8, 24  # rows that throughput is measured on at once, different ones, and how often


def appraise(
    stage: str, child: ModelDir, task: Task, rows: Examples, role: str, runtime: Runtime,
    parent: ModelDir | None = None, floor: str | None = None, threads: int = 1, generation: Generation = OWN,
) -> Report:  # fmt: skip
    """Measure `child`, and its parent in the same way, on the same rows, in turn where time is measured.

    role      which rows these are ("tune", "proof", "all"), for the card
    floor     how much the child may lose, for a verdict on these rows
    threads   that latency is measured at
    generation   how answers are written, where not as the settings of each model have it
    """
    say(f"measuring on {len(rows):,} {role} rows", runtime.quiet)
    bases = [child] if parent is None else [parent, child]
    answers = [predict(base, task, rows, runtime, generation) for base in bases]
    times, speed = compare_latency(bases, task, rows, runtime, threads, generation)
    measures = [
        {**quality(task, said, rows, runtime.seed), "bytes": Measure(base.bytes(), "bytes", better="lower"), **taken}
        for base, said, taken in zip(bases, answers, times)
    ]
    names = ["child"] if parent is None else ["parent", "child"]
    facts: dict[str, Any] = {"measured_on": role, "task": task_name(task), "metric": task.primary}
    facts |= {"labels": task.labels, "latency": speed}
    signature = task.signature(rows.only(task.target_columns))
    notes = [f"counted by {signature}"] if signature else []
    confused = {name: task.confusion(said, rows) for name, said in zip(names, answers)}
    if all(confused.values()):
        facts["confusion"] = {"labels": task.labels, **confused}
    if groups := by_group(task, rows, dict(zip(names, answers)), runtime.seed):
        facts["groups"] = groups
    slowest = max(taken["latency_ms"].value for taken in times)
    if task.self_supervised and task.generates and slowest > SLOW_MS:
        notes.append(f"no samples of what it writes: a pass over one row takes {slowest / 1000:.0f} s here")
    elif task.self_supervised and task.generates:
        facts["samples"] = samples.written(dict(zip(names, bases)), task, rows, runtime)
    if parent is None:
        return Report(stage, child.describe(), after=measures[-1], facts=facts, notes=notes)
    was, now = answers
    if not task.self_supervised:  # where each of thousands of tokens is told a little otherwise
        facts["differ"] = differing(task, rows, was, now)
    if not task.self_supervised and task.scale(rows) is None:  # of numbers, too, nearly every one changes a little
        facts["flips"] = _flips(task, rows, was, now)
    if floor:
        share = floor_share(floor, measures[0][task.primary].value)
        facts["proof"] = proof_facts(verdict(task, rows, was, now, share, runtime.seed), floor, "groups" if rows.grouped else "rows")
    return Report(stage, child.describe(), parent.describe(), before=measures[0], after=measures[-1], facts=facts, notes=notes)


def predict(base: ModelDir, task: Task, rows: Examples, runtime: Runtime, generation: Generation = OWN) -> list[Prediction]:
    """The answers of a directory, by the engine it was made for; the labels of the rows are not shown to it."""
    task = task.of(base.config)
    encoded = Encoded(rows, task, load_processor(base, task), labelled=False, quiet=runtime.quiet)
    return answer(open_backend(base, task, runtime, generation=generation), task, encoded, runtime.quiet)


def compare_latency(
    bases: Sequence[ModelDir], task: Task, rows: Examples, runtime: Runtime, threads: int = 1, generation: Generation = OWN
) -> tuple[list[dict[str, Measure]], dict[str, Any]]:
    """Latency for one row of directories asked in turn for the same rows, and the ratio of the first to the last."""
    backends = [open_backend(base, task, runtime, threads, generation) for base in bases]
    encoded = [Encoded(rows.take(range(min(TIMED_ROWS, len(rows)))), task, load_processor(base, task), labelled=False) for base in bases]
    batches = [[part.batch([row]) for part in encoded] for row in range(len(encoded[0]))]
    asked = [partial(task.predict, backend, processor=part.processor) for backend, part in zip(backends, encoded)]
    times = latency.interleaved(asked, batches, quiet=runtime.quiet)
    measures = [{"latency_ms": t.median, "latency_p95_ms": t.p95} for t in times]
    facts: dict[str, Any] = {"engine": {"child": backends[-1].name}, "threads": threads, "batch": 1}
    if len(bases) > 1:
        ratio = latency.ratio(times[0], times[-1])
        facts["engine"]["parent"] = backends[0].name
        facts |= {"ratio": ratio.value, "low": ratio.low, "high": ratio.high}
    return measures, facts


def throughput(
    bases: Sequence[ModelDir], task: Task, rows: Examples, runtime: Runtime, threads: int | None = None
) -> list[latency.Latency]:
    """Milliseconds for BATCHED rows at once, of directories asked in turn; at `threads` threads, usually all."""
    backends = [open_backend(base, task, runtime, threads) for base in bases]
    encoded = [
        Encoded(rows.take(range(min(SETS * BATCHED, len(rows)))), task, load_processor(base, task), labelled=False) for base in bases
    ]
    size = min(BATCHED, len(encoded[0]))
    sets = [range(start, start + size) for start in range(0, len(encoded[0]) - size + 1, size)]
    asked = [partial(task.predict, backend, processor=part.processor) for backend, part in zip(backends, encoded)]
    return latency.interleaved(asked, [[part.batch(list(each)) for part in encoded] for each in sets], ROUNDS, runtime.quiet)


def _flips(task: Task, rows: Examples, parent: Sequence[Prediction], child: Sequence[Prediction]) -> dict[str, Any]:
    """Rows answered differently, and how many of them became worse and better where a row is right or wrong."""
    found: dict[str, Any] = {"share": flips([p.value for p in parent], [p.value for p in child]), "n": len(rows)}
    was, now = task.per_row(parent, rows), task.per_row(child, rows)
    if was is not None and now is not None and {*was, *now} <= {0.0, 1.0}:
        found["worse"], found["better"] = discordant(was, now)
    return found
