"""The search of shrink: whether the floor can be proven, which shapes there are, which are worth a training, which are likely to pass.

is the floor provable -> drop tokens that no row uses -> time untrained shapes here -> train the promising -> screen on tune rows -> prove
on proof rows
"""

import dataclasses
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from penjing.core.contracts import Prediction, Task
from penjing.core.data import Data
from penjing.core.errors import DataError, ModelError
from penjing.core.find import find
from penjing.core.model_dir import NEW, ModelDir
from penjing.core.progress import say, track
from penjing.core.runtime import Runtime
from penjing.engine import appraise, create, load, relabel
from penjing.engine.anatomy import anatomy
from penjing.engine.baseline import measure_baseline
from penjing.engine.measure import quality
from penjing.engine.smaller import require_student, take_away
from penjing.engine.verdict import floor_share, primary, verdict
from penjing.maths.agreement import rows_at_full_agreement, rows_needed_for_agreement
from penjing.maths.intervals import resample
from penjing.maths.proof import chance, prove, screen
from penjing.maths.sample_size import TOLD_POWER, rows_at_zero_flips, rows_needed, rows_needed_by_spread
from penjing.stages import distill, prune, quantize
from penjing.stages._frame import stage_options

LAYER_SHARES = (1.0, 2 / 3, 1 / 2, 1 / 3)
WIDTH_SHARES = (1.0, 0.75, 0.5, 0.25)
WORTH = 0.98  # of the bytes must be left at most, or the tokens are not worth it
SURE = 0.5  # chance of being proven from which on the search goes on to smaller shapes
CHANNEL_SHARES = (0.5, 0.34, 0.25, 0.17, 0.125)


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
    """What every part of the search needs.

    base    the parent
    whole   what is made smaller: the parent, or the parent without the tokens that no row uses
    tuned   what the parent answers to the tune rows
    """

    base: ModelDir
    whole: ModelDir
    task: Task
    data: Data
    options: Any
    runtime: Runtime
    work: Path
    tuned: list[Prediction]


def begin(base: ModelDir, task: Task, data: Data, options: Any, work: Path, runtime: Runtime) -> Search:
    """Check that the proof rows are new to the parent, and ask it about the tune rows; about all rows where they have no labels."""
    data.check_unseen(base)
    if options.floor_agreement:
        data, options = relabel.by_parent(data, base, task, runtime), dataclasses.replace(options, floor=options.floor_agreement)
    return Search(base, base, task, data, options, runtime, work, appraise.predict(base, task, data.role("tune"), runtime))


def provable(search: Search) -> tuple[float, dict[str, Any]]:
    """The floor as a loss in [0, 1], and what the user is told before anything is trained."""
    task, tune, num_proof = search.task, search.data.role("tune"), search.data.role("proof").units
    units = "groups" if tune.grouped else "rows"
    found = quality(task, search.tuned, tune, search.runtime.seed)[task.primary]
    floor = floor_share(search.options.floor, found.value)
    if search.options.folds:
        return floor, {}
    least = rows_at_full_agreement(floor) if search.options.floor_agreement else rows_at_zero_flips(floor)
    if num_proof < least:
        raise DataError(
            f"{search.data.examples.name}: a floor of {search.options.floor} cannot be proven with {num_proof} proof {units}, "
            "even if no answer changed",
            wanted=f"at least {least} proof {units}",
            fix="pass more rows or a wider floor, or --folds 5 for an interval that proves nothing but is honest",
        )
    targets = tune.only(task.target_columns)
    usual = task.usual(targets)
    always = None if usual is None else task.score([Prediction(usual)] * len(tune), targets)[task.primary]
    if always is not None and (found.value if found.high is None else found.high) < always:
        raise ModelError(
            f"{search.base}: its {task.primary} on the tune rows is {found.value:.1%}, that of always saying {usual!r} {always:.1%}",
            wanted="a parent that is better than chance",
            fix="penjing finetune it first",
        )
    needed, because = expected(search, found.value, floor)
    enough = "enough" if needed <= num_proof else "fewer than that: a good child may fail by bad luck"
    say(
        f"a floor of {search.options.floor} at {because} needs {needed:,} proof {units} for 80 % power; there are {num_proof:,}, {enough}",
        search.runtime.quiet,
    )
    return floor, {"rows_at_least": least, "rows_needed": needed, "expected": because}


def expected(search: Search, value: float, floor: float) -> tuple[int, str]:
    """Proof rows (or groups) that a good child will need, and from what that was told.

    A child errs about as often as its parent, on rows that are partly the same: so as many answers flip as the parent has errors, or,
    which is the same for a metric that is no mean of right and wrong, the loss strays as much as the parent's own measure does. Where the
    parent's answers stand for the truth, a good child differs on half as many rows as it may.
    """
    task, tune = search.task, search.data.role("tune")
    listed, groups = tune.only(task.target_columns), tune.groups()
    if task.per_row(search.tuned, listed) is not None and groups is None:
        if search.options.floor_agreement:
            return rows_needed_for_agreement(floor, floor / 2, TOLD_POWER), f"{floor / 2:.1%} of answers that differ"
        flips = max(1 - value, 1 / len(tune))
        return rows_needed(floor, flips, TOLD_POWER), f"{flips:.1%} flips"
    spread = float(resample(primary(task, search.tuned, listed), len(tune), seed=search.runtime.seed, groups=groups).std())
    needed = rows_needed_by_spread(floor, spread, tune.units, TOLD_POWER)
    return needed, f"a standard error of {100 * spread:.2g} points on {tune.units:,} tune {'groups' if groups else 'rows'}"


def trim(search: Search, floor: float) -> tuple[Search, dict[str, Any]]:
    """The search among smaller forms of the parent without the tokens that no row uses, where it has such and tune rows allow it; facts."""
    loaded = load.load(search.base, search.task, search.runtime)
    vocabulary = find(prune.METHODS, "vocabulary")
    if not vocabulary.fits(anatomy(loaded.model)) or vocabulary.unfit(loaded.model, loaded.processor):
        return search, {}
    tune, options = search.data.role("tune"), stage_options("prune", {"method": "vocabulary"})
    out, quiet = search.work / "vocabulary", dataclasses.replace(search.runtime, quiet=True)
    model, report = prune.prune(search.base, search.task, search.data, options, out=out, runtime=quiet)
    told = appraise.predict(model, search.task, tune, search.runtime)
    found = verdict(search.task, tune, search.tuned, told, floor, search.runtime.seed)
    likely = chance(found, search.data.role("proof").units or search.data.examples.units)
    if likely < SURE or model.bytes() > WORTH * search.base.bytes():
        return search, {}
    say(f"{report.facts['removed']['tokens']}; the others are left out", search.runtime.quiet)
    return search._replace(whole=model), {"vocabulary": report.facts["removed"], "parameters": report.facts["parameters"]}


def settle_engine(search: Search, engines: list[str]) -> tuple[Search, list[dict[str, Any]]]:
    """The search with one engine for every candidate, and what was measured to choose it: whatever runs the quantized parent fastest.

    engines   to choose from; none where nothing is quantized
    """

    if not engines:
        return search, []
    whole = load.load(search.whole, search.task, search.runtime)
    engine, tried = quantize.choose_engine(engines, search.whole, whole, search.data, quantizing(search.options), search.runtime)
    return search._replace(options=dataclasses.replace(search.options, engine=engine)), tried  # type: ignore[arg-type]


def quantizing(options: Any, **words: Any) -> Any:
    """How candidates are quantized."""
    return stage_options("quantize", {"engine": options.engine, **words})


def shapes(search: Search) -> list[Candidate]:
    """Every shape worth timing, from what the parent is made of.

    Raises ModelError where nothing can be removed, nothing quantized and no student was named.
    """
    parts = anatomy(load.load(search.whole, search.task, search.runtime).model)
    found = [Candidate("whole")] if search.options.quantize or search.whole is not search.base else []
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
    folders = []
    whole = load.load(search.whole, search.task, search.runtime)
    for candidate in track(candidates, "timing untrained shapes", len(candidates), search.runtime.quiet):
        folder = search.work / "timing" / candidate.name
        if candidate.student:
            rows = search.data.role("train")
            smaller = create.create(candidate.student.removeprefix(NEW), search.task, rows, search.runtime, whole.processor)
            require_student(candidate.student, smaller, whole)
        else:
            smaller = whole
            for method, share in candidate.steps:
                settings = find(prune.METHODS, method).Options(keep_share=share)
                smaller, _ = take_away(smaller, search.data, method, settings, search.runtime, scored=8)
        if search.options.quantize:
            quick = quantizing(search.options, calibration_rows=8)
            folders.append(quantize.write_artefact(smaller, search.data, quick, quick.engine, folder)[0])
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
    started, trained = time.perf_counter(), 0
    num_proof = search.data.role("proof").units or search.data.examples.units

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
        if chance(pruned[middle].verdict, num_proof) >= SURE:
            first = middle + 1
        else:
            after = middle


def _train(candidate: Candidate, floor: float, search: Search) -> None:
    """Make a candidate as a user would by hand, prune or distill and then quantize, and judge it on the tune rows."""
    _, whole, task, data, options, runtime, work, said = search
    model = whole
    quiet = dataclasses.replace(runtime, quiet=True)
    learning = vars(options.training)
    if candidate.student:
        chosen = stage_options("distill", {**learning, "student": candidate.student})
        model, report = distill.distill(whole, task, data, chosen, out=work / candidate.name / "distilled", runtime=runtime)
        candidate.facts |= {"training": report.facts["training"], "parameters": report.facts["parameters"]}
    for number, (method, share) in enumerate(candidate.steps):
        last = number == len(candidate.steps) - 1
        chosen = stage_options("prune", {**learning, "method": method, "keep_share": share} | ({} if last else {"epochs": 0}))
        folder, noise = work / candidate.name / method, runtime if last else quiet
        model, report = prune.prune(model, task, data, chosen, out=folder, runtime=noise, teacher=whole)
        candidate.facts |= {key: report.facts[key] for key in ("training", "removed", "parameters")}
    if options.quantize:
        model, report = quantize.quantize(model, task, data, quantizing(options), out=work / candidate.name / "quantized", runtime=quiet)
        candidate.facts |= {key: report.facts[key] for key in ("quantized", "parity", "parameters")}
    candidate.model, candidate.bytes = model, model.bytes()
    if model is not whole:
        candidate.latency_ms = report.after["latency_ms"].value
    tune = data.role("tune")
    candidate.tuned, candidate.status = appraise.predict(model, task, tune, runtime), "not tested"
    candidate.verdict = verdict(task, tune, said, candidate.tuned, floor, runtime.seed)


def choose(candidates: list[Candidate], search: Search) -> tuple[Candidate, list[dict[str, Any]]]:
    """Screen on the tune rows, prove on the proof rows in a fixed sequence; the smallest proven, else the most likely.

    Returns it with the sequence as it was walked. In a cross-fit nothing is proven: the most likely.
    """
    base, _, task, data, options, runtime, _, _ = search
    trained, proof = [c for c in candidates if c.model], data.role("proof")
    finalists = [trained[i] for i in screen([c.verdict for c in trained], [c.bytes for c in trained], proof.units or data.examples.units)]
    if options.folds:
        return finalists[0], []
    said_proof = appraise.predict(base, task, proof, runtime)
    proof_floor = floor_share(options.floor, task.score(said_proof, list(proof))[task.primary])

    def measure(candidate: Candidate) -> Any:
        rows = data.proof("shrink", candidate.model.sha256())  # type: ignore[union-attr]
        candidate.proven = appraise.predict(candidate.model, task, rows, runtime)  # type: ignore[arg-type]
        found = verdict(task, rows, said_proof, candidate.proven, proof_floor, runtime.seed)
        candidate.status = "proven" if found.passed else "failed"
        say(f"{candidate.name}: loss {100 * found.loss:.2f} points, at most {100 * found.upper:.2f}: {candidate.status}", runtime.quiet)
        return found

    walked = prove(finalists, measure)
    sequence = [{"name": c.name, "loss": 100 * v.loss, "upper": 100 * v.upper, "passed": v.passed} for c, v in walked.verdicts]
    return walked.proven or finalists[0], sequence


def curve(candidates: list[Candidate], simplest: Any, search: Search) -> list[dict[str, Any]]:
    """Parent, baseline and every shape of the search as a point: size, time, and quality on the tune rows where it was trained."""
    base, _, task, data, _, runtime, _, said = search
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
