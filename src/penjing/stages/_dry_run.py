"""What a call would do, how long it would take here, and whether its floor can be proven; nothing is written."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from penjing.core.find import find
from penjing.core.model_dir import MADE, check_free, unfinished
from penjing.core.runtime import Runtime
from penjing.core.unlabelled import unseen
from penjing.stages import finetune
from penjing.stages._checks import GROWING
from penjing.stages._frame import Call, already, idle, prepare, require_alike

TIMED_STEPS = 5


def plan(stage: str, model: str, data: str, out: Path | None, runtime: Runtime, words: dict[str, Any], overwrite: bool) -> dict[str, Any]:
    """What would be done, for programs; every check of the real call is made, so that it fails where that would."""
    if out:
        check_free(out, overwrite, or_ours=True)
    prepared = prepare(stage, model, data, words, runtime)
    found: dict[str, Any] = {"stage": stage, "model": model, "data": prepared.data.describe(), "notes": prepared.data.notes}
    found |= {"out": out and str(out), "done": bool(out and already(out, prepared.inputs(), overwrite))}
    if out and not found["done"]:
        require_alike(unfinished(out), out, prepared.inputs(), overwrite)
    trainings = 1
    if stage == "shrink":
        from penjing.stages import _provable, _search

        base, options = prepared.base, prepared.options
        begun = _search.begin(base, prepared.task, prepared.data, options, Path(out or "", MADE), runtime)  # type: ignore[arg-type]
        _, told = _provable.provable(begun)
        trainings = options.candidates + len(options.students or [])
        found["floor"] = {"floor": options.floor, "rows_there": prepared.data.roles.counts["proof"], **told}
    training = vars(prepared.options).get("training")
    if training and training.epochs and "epochs" not in idle(stage, vars(prepared.options).get("method")):
        steps, seconds = _training(prepared)
        found["training"] = {"trainings": trainings, "steps": steps, "seconds": round(seconds * trainings, 1)}
    return found


def told(found: dict[str, Any]) -> str:
    """A plan in sentences for a person, a line each."""
    if "after" in found:
        return f"{found['stage']}, once {found['after']} is made\nwould write {found['out']}"
    counts = ", ".join(f"{count:,} {role}" for role, count in found["data"]["rows"].items())
    lines = [f"{found['stage']} {found['model']} on {found['data']['name']}: {counts} rows", *(f"note: {note}" for note in found["notes"])]
    if floor := found.get("floor"):
        needed = floor.get("rows_needed", floor["rows_at_least"])
        verdict = "provable" if needed <= floor["rows_there"] else "a good child may fail by bad luck"
        lines.append(f"floor {floor['floor']}: {needed:,} proof rows needed, {floor['rows_there']:,} there: {verdict}")
    if training := found.get("training"):
        lines += [f"{training['trainings']} shapes would be trained"] if floor else []
        lines.append(f"about {training['steps']:,} steps a training, {words_for(training['seconds'])} in all for the training")
    if found["done"]:
        lines.append(f"{found['out']} is already done: nothing would be done")
    else:
        lines.append(f"would write {found['out']}" if found["out"] else "pass --out DIRECTORY to do it")
    return "\n".join(lines)


def words_for(seconds: float) -> str:
    """A time as people say it, roughly."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _training(prepared: Call) -> tuple[int, float]:
    """Steps of a training, and seconds by the time that a few of them take now."""
    from penjing.engine import batches, corpus, room, threads, train
    from penjing.methods.finetune import whole

    student, loss = _trained(prepared)
    rows = prepared.data.role("train")
    if prepared.stage == "distill" and prepared.data.unlabelled:
        more, column = unseen(prepared.data)[0], prepared.task.target_columns[0]
        rows = rows.followed_by(more, column, [rows[0][column]] * len(more))  # any answer takes as long
    encoded: Any = batches.Encoded(rows, prepared.task, student.processor)
    if prepared.stage == "pretrain":
        encoded = corpus.packed(rows, prepared.task, student.processor, prepared.runtime.seed, prepared.runtime.quiet)
    tuned = prepared.stage == "finetune"
    learner = finetune.learner(student, prepared.options, prepared.runtime) if tuned else whole(student.model)
    options = dataclasses.replace(prepared.options.training, sharded=False)  # there is one rank here
    state = train.State(learner, encoded, options, prepared.runtime)
    if not state.steps:
        return 0, 0.0
    state.cut(*room.choose_batch(state, loss))
    order, taken = state.order.batches(0, 0)[:TIMED_STEPS], list[float]()
    for number in threads.thread_counts(prepared.runtime.threads, state.group.size):
        with threads.torch_threads(number):
            started = time.perf_counter()
            for chosen in order:
                train.gradients(state, state.share(chosen, 0), loss)
            taken.append(time.perf_counter() - started)
    return state.steps, state.steps * min(taken) / len(order)


def _trained(prepared: Call) -> tuple[Any, Any]:
    """The model that would be trained, and its loss; for shrink, whose shapes are all smaller, the whole model."""
    from penjing.engine import create, load, smaller, teach

    stage, base, task, data, options, runtime = prepared
    rows = data.role("train")
    if stage in GROWING:
        return create.begun(base, task, rows, runtime, new_text=options.new_text), task.loss
    whole = load.load(base, task, runtime)  # type: ignore[arg-type]
    if stage == "distill":
        student = smaller.student(whole, data, options.student, options.shape, runtime)
        return student, teach.loss_by(whole, student, options.method, options.settings, [])
    if stage == "prune":
        student = smaller.take_away(whole, data, options.method, options.settings, runtime, scored=8).loaded
    elif stage == "quantize":
        student = load.load(base, task, runtime)  # type: ignore[arg-type]
    else:
        student = create.begun(base, task, rows, runtime)
    method = "logits" if stage == "shrink" else options.recovery
    return student, teach.loss_by(whole, student, method, find("methods.distill", method).Options(), [])
