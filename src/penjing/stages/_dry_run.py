"""What a call would do, how long it would take here, and whether its floor can be proven; nothing is written."""

from pathlib import Path
from typing import Any

from penjing.core.model_dir import check_free
from penjing.core.runtime import Runtime
from penjing.stages import shrink
from penjing.stages._frame import NEW, Call, prepare


def describe(stage: str, model: str, data: str, out: Path | None, runtime: Runtime, words: dict[str, Any], overwrite: bool) -> str:
    """Sentences for a person, a line each; every check of the real call is made, so that it fails where that would."""
    prepared = prepare(stage, model, data, words, runtime)
    if out:
        check_free(out, overwrite)
    counts = ", ".join(f"{count:,} {role}" for role, count in prepared.data.roles.counts.items())
    lines = [f"{stage} {model} on {prepared.data.examples.name}: {counts} rows", *(f"note: {note}" for note in prepared.data.notes)]
    runs = 1
    if stage == "shrink":
        _, told = shrink.provable(shrink.begin(prepared.base, prepared.task, prepared.data, prepared.options, Path(), runtime))  # type: ignore[arg-type]
        runs = prepared.options.candidates + len(prepared.options.students or [])
        there = prepared.data.roles.counts["proof"]
        needed = told.get("rows_needed", told["rows_at_least"])
        lines.append(f"floor {prepared.options.floor}: {needed:,} proof rows needed, {there:,} there: {'provable' if needed <= there else 'a good child may fail'}")
        lines.append(f"{runs} shapes would be trained")
    if "training" in vars(prepared.options):
        steps, seconds = _training(prepared)
        lines.append(f"about {steps:,} steps a training, {words_for(seconds * runs)} in all for the training")
    lines.append(f"would write {out}" if out else "nothing would be written")
    return "\n".join(lines)


def words_for(seconds: float) -> str:
    """A time as people say it, roughly."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _training(prepared: Call) -> tuple[int, float]:
    """Steps, and seconds by the time that a few of them take now."""
    import time

    from penjing.engine import batches, create, load, threads, train

    _, base, task, data, options, runtime = prepared
    rows = data.role("train")
    if isinstance(base, str):
        loaded = create.create(base.removeprefix(NEW), task, rows, runtime)
    else:
        loaded = load.load(base, task, runtime)
    state = train.State(loaded.model, batches.Encoded(rows, task, loaded.processor), options.training, runtime)
    if not state.steps:
        return 0, 0.0
    with threads.torch_threads(threads.choose_threads(state, task.loss)):
        started = time.perf_counter()
        order = state.order(0)[:5]
        for chosen in order:
            train.gradients(state, state.encoded.batch(chosen), task.loss)
    return state.steps, state.steps * (time.perf_counter() - started) / len(order)
