"""Search for the smallest model that is proven not to be worse than its parent by more than a floor.

    is the floor provable -> time untrained shapes here -> train the promising -> screen on tune rows -> prove on proof rows

It always returns: the smallest proven candidate, or the best one with the floor missed by so much; and the whole curve.
"""

import collections
import dataclasses
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from penjing.core.contracts import Prediction, Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, Bytes, Duration, Floor
from penjing.core.progress import say, track
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.stages import distill, prune, quantize
from penjing.stages._frame import stage_options

LAYER_SHARES = (1.0, 2 / 3, 1 / 2, 1 / 3)
WIDTH_SHARES = (1.0, 0.75, 0.5, 0.25)
CHANNEL_SHARES = (0.5, 0.34, 0.25, 0.17, 0.125)


@dataclass(frozen=True)
class Options:
    """What may be lost, what is wanted, and how long the search may take."""

    floor: Annotated[Floor, "how much quality may be lost: points (1.0) or a share of the parent's (3%)"] = Floor("1.0")
    max_bytes: Annotated[Bytes | None, "largest size wanted"] = None
    max_latency: Annotated[float | None, "highest latency wanted, ms for one row on one thread", Between(0)] = None
    candidates: Annotated[int, "how many pruned shapes are trained at most", Between(1, 100)] = 4
    budget: Annotated[Duration | None, "no further shape is begun after this time"] = None
    students: Annotated[list[str] | None, "sizes to distill into from nothing, beside what is pruned: new:resnet-tiny"] = None
    quantize: Annotated[bool, "quantize every candidate"] = True
    training: Training = Training(epochs=3, learning_rate=1e-4)
    data: DataOptions = DataOptions()


@dataclass
class Candidate:
    """One shape of the search.

    steps     (method of prune, share that stays) in turn; or the size of a new student
    status    what became of it: "not trained", "not tested", "failed", "proven"
    """

    name: str
    steps: tuple[tuple[str, float], ...] = ()
    student: str | None = None
    bytes: int = 0
    latency_ms: float = 0.0
    model: ModelDir | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    tuned: list[Prediction] | None = None
    verdict: Any = None
    proven: list[Prediction] | None = None
    status: str = "not trained"


class Search(NamedTuple):
    """What every part of the search needs; `tuned` is what the parent answers to the tune rows."""

    base: ModelDir
    task: Task
    data: Data
    options: Options
    runtime: Runtime
    work: Path
    tuned: list[Prediction]


def shrink(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """The smallest model that passes, and its report on the proof rows.

    Raises DataError where the floor cannot be proven with these rows, or the parent has seen them; ModelError for a parent that is
    no better than always saying the same.
    """
    from penjing.engine import appraise, gate
    from penjing.engine.baseline import fit_baseline, measure_baseline

    gate.warm_up()
    search = begin(base, task, data, options, out / ".work", runtime)
    floor, told = provable(search)
    shutil.rmtree(search.work, ignore_errors=True)
    try:
        candidates = shapes(search)
        time_untrained(candidates, search)
        train(promising(candidates, search), floor, search)
        chosen, sequence = choose(candidates, search)
        shutil.copytree(chosen.model.path, out, dirs_exist_ok=True)  # type: ignore[union-attr]
        simplest = fit_baseline(task, data.role("train"), runtime.quiet)
        points = curve(candidates, simplest, search)
    finally:
        shutil.rmtree(search.work, ignore_errors=True)
    model = ModelDir.open(out)
    report = appraise.appraise("shrink", model, task, data.role("proof"), "proof", runtime, parent=base, floor=options.floor)
    report.baseline = simplest and measure_baseline(simplest, task, data.role("proof"))
    report.facts["proof"] |= {**told, "sequence": sequence}
    report.facts |= {**chosen.facts, "curve": points, "chosen": chosen.name}
    return model, report


def begin(base: ModelDir, task: Task, data: Data, options: Options, work: Path, runtime: Runtime) -> Search:
    """Check that the proof rows are new to the parent, and ask it about the tune rows."""
    from penjing.engine import appraise

    data.check_unseen(base)
    return Search(base, task, data, options, runtime, work, appraise.predict(base, task, data.role("tune"), runtime))


def provable(search: Search) -> tuple[float, dict[str, Any]]:
    """The floor as a loss in [0, 1], and what the user is told before anything is trained.

    As many flips are expected as the parent has errors: a child errs about as often, on rows that are partly the same.
    """
    from penjing.engine.verdict import floor_share
    from penjing.maths.intervals import wilson
    from penjing.maths.sample_size import TOLD_POWER, rows_at_zero_flips, rows_needed

    tune, num_proof = search.data.role("tune"), len(search.data.role("proof"))
    value = search.task.score(search.tuned, list(tune))[search.task.primary]
    floor = floor_share(search.options.floor, value)
    least = rows_at_zero_flips(floor)
    if num_proof < least:
        raise DataError(
            f"{search.data.examples.name}: a floor of {search.options.floor} cannot be proven with {num_proof} proof rows, "
            "even if no answer changed",
            wanted=f"at least {least} proof rows",
            fix="pass more rows, or a wider --floor",
        )
    each = search.task.per_row(search.tuned, list(tune))
    told: dict[str, Any] = {"rows_at_least": least}
    if each is None:
        return floor, told
    counts = collections.Counter(tune.column(search.task.target_columns[0]))
    usual, times = counts.most_common(1)[0]
    if wilson(int(sum(each)), len(each))[1] < times / len(each):
        raise ModelError(
            f"{search.base.path} answers {value:.1%} of the tune rows rightly, always saying {usual!r} {times / len(each):.1%}",
            wanted="a parent that is better than chance",
            fix="penjing finetune it first",
        )
    flips = max(1 - value, 1 / len(each))
    told |= {"rows_needed": rows_needed(floor, flips, TOLD_POWER), "flips_expected": flips}
    enough = "enough" if told["rows_needed"] <= num_proof else "fewer than that: a good child may fail by bad luck"
    say(
        f"a floor of {search.options.floor} at {flips:.1%} flips needs {told['rows_needed']:,} proof rows for 80 % power; "
        f"there are {num_proof:,}, {enough}",
        search.runtime.quiet,
    )
    return floor, told


def shapes(search: Search) -> list[Candidate]:
    """Every shape worth timing, from what the parent is made of.

    Raises ModelError where nothing can be removed, nothing quantized and no student was named.
    """
    from penjing.engine.anatomy import anatomy
    from penjing.engine.load import load

    parts = anatomy(load(search.base, search.task, search.runtime).model)
    found = [Candidate("whole")] if search.options.quantize else []
    if parts.channels:
        found += [Candidate(f"channels {share:.0%}", (("channels", share),)) for share in CHANNEL_SHARES]
    total = len(parts.blocks)
    by_count = {max(1, round(total * share)): share for share in LAYER_SHARES} if parts.depth and total > 1 else {total: 1.0}
    for count, depth in by_count.items():
        for width in WIDTH_SHARES if parts.feed_forward and parts.width else (1.0,):
            steps = tuple((method, share) for method, share in (("layers", depth), ("feed-forward", width)) if share < 1)
            if steps:
                found.append(Candidate(f"{count} layers, {width:.0%} feed-forward", steps))
    found += [Candidate(size, student=size) for size in search.options.students or []]
    if not found:
        raise ModelError(f"{search.base.path} has nothing that a method can remove", fix="pass --students new:<size>, or --quantize true")
    return found


def time_untrained(candidates: list[Candidate], search: Search) -> None:
    """Bytes and milliseconds of every shape as it would be deployed, before any is trained."""
    from penjing.engine import appraise, create, load

    folders = []
    whole = load.load(search.base, search.task, search.runtime)
    for candidate in track(candidates, "timing untrained shapes", len(candidates), search.runtime.quiet):
        folder = search.work / "timing" / candidate.name
        if candidate.student:
            rows = search.data.role("train")
            smaller = create.create(candidate.student.removeprefix(create.PREFIX), search.task, rows, search.runtime, whole.processor)
        else:
            smaller = whole
            for method, share in candidate.steps:
                options = stage_options("prune", {"method": method, "keep_share": share, "scoring_rows": 8})
                smaller, _ = prune.take_away(smaller, search.task, search.data, options, search.runtime)
        if search.options.quantize:
            facts = quantize.write_artefact(smaller, search.task, search.data, stage_options("quantize", {"calibration_rows": 8}), folder)
            folders.append(ModelDir(folder, {}).record(engine=facts["engine"], precision=facts["precision"]))
        else:
            folders.append(load.save(smaller, folder))
        candidate.bytes = folders[-1].bytes()
    measures, _ = appraise.compare_latency(folders, search.task, search.data.role("tune"), search.runtime)
    for candidate, measured in zip(candidates, measures):
        candidate.latency_ms = measured["latency_ms"].value


def promising(candidates: list[Candidate], search: Search) -> list[Candidate]:
    """The shapes within the limits, the largest and slowest first.

    Raises ModelError where there is none.
    """
    options = search.options
    fitting = [c for c in candidates if c.bytes <= (options.max_bytes or math.inf) and c.latency_ms <= (options.max_latency or math.inf)]
    if not fitting:
        least = min(candidates, key=lambda c: c.bytes)
        raise ModelError(
            "no shape of this model is within --max-bytes and --max-latency",
            wanted=f"the smallest, {least.name}, has {least.bytes:,} bytes and takes {least.latency_ms:.3g} ms",
            fix="widen the limits, or pass --students new:<size>",
        )
    return sorted(fitting, key=lambda c: -c.bytes * c.latency_ms)


def train(shapes: list[Candidate], floor: float, search: Search) -> None:
    """Train where the floor is likely to lie: what needs no training and the students first, then the pruned shapes by halving.

    shapes    largest first: of those that are left the middle one is trained; where its tune rows say that it is likelier than not to be
              proven the search goes on among the smaller, otherwise among the larger
    """
    from penjing.maths.proof import chance

    started, trained = time.perf_counter(), 0
    num_proof = len(search.data.role("proof"))

    def begin_another(candidate: Candidate) -> bool:
        """Train it unless that would go beyond the budget, judged by what the others took."""
        nonlocal trained
        spent = time.perf_counter() - started
        if search.options.budget and trained and spent * (trained + 1) / trained > search.options.budget:
            say("the budget is spent: other shapes are left untrained", search.runtime.quiet)
            return False
        say(f"{candidate.name}: {candidate.bytes:,} bytes", search.runtime.quiet)
        _train(candidate, floor, search)
        trained += 1
        return True

    for candidate in shapes:
        if not candidate.steps and not begin_another(candidate):
            return
    pruned = [c for c in shapes if c.steps]
    first, after = 0, len(pruned)
    for _ in range(search.options.candidates):
        middle = (first + after) // 2
        if first >= after or not begin_another(pruned[middle]):
            return
        if chance(pruned[middle].verdict, num_proof) >= 0.5:
            first = middle + 1
        else:
            after = middle


def _train(candidate: Candidate, floor: float, search: Search) -> None:
    """Make a candidate as a user would by hand, prune or distill and then quantize, and judge it on the tune rows."""
    from penjing.engine.appraise import predict
    from penjing.engine.verdict import verdict

    base, task, data, options, runtime, work, said = search
    model = base
    quiet = dataclasses.replace(runtime, quiet=True)
    learning = vars(options.training)
    if candidate.student:
        chosen = stage_options("distill", {**learning, "student": candidate.student})
        model, report = distill.distill(base, task, data, chosen, out=work / candidate.name / "distilled", runtime=runtime)
        candidate.facts |= {"training": report.facts["training"], "parameters": report.facts["parameters"]}
    for number, (method, share) in enumerate(candidate.steps):
        last = number == len(candidate.steps) - 1
        chosen = stage_options("prune", {**learning, "method": method, "keep_share": share} | ({} if last else {"epochs": 0}))
        folder, noise = work / candidate.name / method, runtime if last else quiet
        model, report = prune.prune(model, task, data, chosen, out=folder, runtime=noise, teacher=base)
        candidate.facts |= {key: report.facts[key] for key in ("training", "removed", "parameters")}
    if options.quantize:
        settings = stage_options("quantize", {})
        model, report = quantize.quantize(model, task, data, settings, out=work / candidate.name / "quantized", runtime=quiet)
        candidate.facts |= {key: report.facts[key] for key in ("quantized", "parity", "parameters")}
    candidate.model, candidate.bytes, candidate.latency_ms = model, model.bytes(), report.after["latency_ms"].value
    tune = data.role("tune")
    candidate.tuned, candidate.status = predict(model, task, tune, runtime), "not tested"
    candidate.verdict = verdict(task, tune, said, candidate.tuned, floor, runtime.seed)


def choose(candidates: list[Candidate], search: Search) -> tuple[Candidate, list[dict[str, Any]]]:
    """Screen on the tune rows, prove on the proof rows in a fixed sequence; the smallest proven, else the most likely.

    Returns it with the sequence as it was walked.
    """
    from penjing.engine.appraise import predict
    from penjing.engine.verdict import floor_share, verdict
    from penjing.maths.proof import prove, screen

    base, task, data, options, runtime, _, _ = search
    trained, proof = [c for c in candidates if c.model], data.role("proof")
    finalists = [trained[i] for i in screen([c.verdict for c in trained], [c.bytes for c in trained], len(proof))]
    said_proof = predict(base, task, proof, runtime)
    proof_floor = floor_share(options.floor, task.score(said_proof, list(proof))[task.primary])

    def measure(candidate: Candidate) -> Any:
        rows = data.proof("shrink", candidate.model.sha256())  # type: ignore[union-attr]
        candidate.proven = predict(candidate.model, task, rows, runtime)  # type: ignore[arg-type]
        found = verdict(task, rows, said_proof, candidate.proven, proof_floor, runtime.seed)
        candidate.status = "proven" if found.passed else "failed"
        say(f"{candidate.name}: loss {100 * found.loss:.2f} points, at most {100 * found.upper:.2f}: {candidate.status}", runtime.quiet)
        return found

    walked = prove(finalists, measure)
    sequence = [{"name": c.name, "loss": 100 * v.loss, "upper": 100 * v.upper, "passed": v.passed} for c, v in walked.verdicts]
    return walked.proven or finalists[0], sequence


def curve(candidates: list[Candidate], simplest: Any, search: Search) -> list[dict[str, Any]]:
    """Parent, baseline and every shape of the search as a point: size, time, and quality on the tune rows where it was trained."""
    from penjing.engine import appraise
    from penjing.engine.baseline import measure_baseline
    from penjing.engine.measure import quality

    base, task, data, _, runtime, _, said = search
    tune = data.role("tune")
    (times,), _ = appraise.compare_latency([base], task, tune, runtime)
    parent = Candidate("parent", bytes=base.bytes(), latency_ms=times["latency_ms"].value, tuned=said, status="parent")
    points = []
    for candidate in [parent, *candidates]:
        point: dict[str, Any] = {name: vars(candidate)[name] for name in ("name", "bytes", "latency_ms", "status")}
        if candidate.tuned:
            found = quality(task, candidate.tuned, tune, runtime.seed)[task.primary]
            point |= {"quality": found.value, "low": found.low, "high": found.high}
        if candidate.proven:
            point["proof_quality"] = task.score(candidate.proven, list(data.role("proof")))[task.primary]
        points.append(point)
    if simplest:
        measures = measure_baseline(simplest, task, tune)["measures"]
        found = measures[task.primary]
        size = {"bytes": measures["bytes"].value, "latency_ms": measures["latency_ms"].value}
        points.append({"name": simplest.name, "status": "baseline", **size, "quality": found.value, "low": found.low, "high": found.high})
    return points
