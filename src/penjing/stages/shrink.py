"""Search for the smallest model that is proven not to be worse than its parent by more than a floor.

    is the floor provable -> time untrained shapes here -> train the promising -> screen on tune rows -> prove on proof rows

It always returns: the smallest proven candidate, or the best one with the floor missed by so much; and the whole curve.
"""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from penjing.core.contracts import Prediction, Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError, ModelError
from penjing.core.model_dir import CHECKPOINTS, ModelDir
from penjing.core.options import Between, Bytes, Duration, Floor
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.stages import _search, quantize
from penjing.stages._search import Search


@dataclass(frozen=True)
class Options:
    """What may be lost, what is wanted, and how long the search may take."""

    floor: Annotated[Floor, "how much quality may be lost: points (1.0) or a share of the parent's (3%)"] = Floor("1.0")
    floor_agreement: Annotated[
        Floor | None, "for rows without labels: how many answers may differ from the parent's (points), which then stand for the truth"
    ] = None
    folds: Annotated[
        int | None, "for too few rows to prove anything: learn from all and tell the loss by a cross-fit in so many rounds", Between(2, 100)
    ] = None
    max_bytes: Annotated[Bytes | None, "largest size wanted"] = None
    max_latency: Annotated[float | None, "highest latency wanted, ms for one row on one thread", Between(0)] = None
    candidates: Annotated[int, "how many pruned shapes are trained at most", Between(1, 100)] = 4
    budget: Annotated[Duration | None, "no further shape is begun after this time"] = None
    students: Annotated[list[str] | None, "sizes to distill into from nothing, beside what is pruned: new:resnet-tiny"] = None
    quantize: Annotated[bool, "quantize every candidate"] = True
    engine: Annotated[
        Literal["onnxruntime", "openvino", "auto"], "what shall run them; auto takes the one that runs the quantized parent fastest"
    ] = "onnxruntime"
    training: Training = Training(epochs=3, learning_rate=1e-4)
    data: DataOptions = DataOptions()


def shrink(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """The smallest model that passes, and its report on the proof rows.

    Raises DataError where the floor cannot be proven with these rows, or the parent has seen them; ModelError for a parent that is
    no better than always saying the same.
    """
    from penjing.engine import appraise, gate, relabel, remarks
    from penjing.engine.baseline import fit_baseline, measure_baseline

    engines = quantize.possible_engines(_search.quantizing(options)) if options.quantize else []
    if engines:
        quantize.foretell(runtime)
    gate.warm_up()
    search = begin(base, task, data, options, out / ".work", runtime)
    data, options = search.data, search.options
    floor, told = provable(search)
    search, tried = _search.settle_engine(search, engines)
    candidates = _search.shapes(search)
    _search.time_untrained(candidates, search)
    _search.train(_search.promising(candidates, search), floor, search)
    chosen, sequence = _search.choose(candidates, search)
    shutil.copytree(chosen.model.path, out, ignore=shutil.ignore_patterns(CHECKPOINTS), dirs_exist_ok=True)  # type: ignore[union-attr]
    simplest = fit_baseline(task, data.role("train"), runtime.quiet)
    points = _search.curve(candidates, simplest, search)
    shutil.rmtree(search.work)
    model, role = ModelDir.open(out), "tune" if options.folds else "proof"
    tested = None if options.folds else options.floor
    report = appraise.appraise("shrink", model, task, data.role(role), role, runtime, parent=base, floor=tested)  # type: ignore[arg-type]
    report.baseline = simplest and measure_baseline(simplest, task, data.role(role))  # type: ignore[arg-type]
    if tested:
        report.facts["proof"] |= {**told, "sequence": sequence}
    report.facts |= {**chosen.facts, "curve": points, "chosen": chosen.name, "engines": tried}
    report.notes += remarks.remarks(report)
    return model, relabel.as_agreement(report, task) if options.floor_agreement else report


def begin(base: ModelDir, task: Task, data: Data, options: Options, work: Path, runtime: Runtime) -> Search:
    """Check that the proof rows are new to the parent, and ask it about the tune rows; about all rows where they have no labels."""
    from penjing.engine import appraise, relabel

    data.check_unseen(base)
    if options.floor_agreement:
        data, options = relabel.by_parent(data, base, task, runtime), replace(options, floor=options.floor_agreement)
    return Search(base, task, data, options, runtime, work, appraise.predict(base, task, data.role("tune"), runtime))


def provable(search: Search) -> tuple[float, dict[str, Any]]:
    """The floor as a loss in [0, 1], and what the user is told before anything is trained."""
    from penjing.engine.measure import quality
    from penjing.engine.verdict import floor_share
    from penjing.maths.agreement import rows_at_full_agreement
    from penjing.maths.sample_size import rows_at_zero_flips

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
    from penjing.engine.verdict import primary
    from penjing.maths.agreement import rows_needed_for_agreement
    from penjing.maths.intervals import resample
    from penjing.maths.sample_size import TOLD_POWER, rows_needed, rows_needed_by_spread

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
