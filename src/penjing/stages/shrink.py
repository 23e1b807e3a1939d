"""Search for the smallest model that is proven not to be worse than its parent by more than a floor.

    is the floor provable -> drop tokens that no row uses -> time untrained shapes here -> train the promising -> screen on tune rows
    -> prove on proof rows

It always returns: the smallest proven candidate, or the best one with the floor missed by so much; the whole curve; and, of rows with
labels and without folds, recipe.toml, which makes this one again.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import MissingExtra, need
from penjing.core.examples import Examples
from penjing.core.model_dir import CHECKPOINTS, MADE, ModelDir
from penjing.core.options import Between, Bytes, Duration, Floor, Latency
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.stages import quantize


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
    max_latency: Annotated[Latency | None, "highest latency wanted, for one row on one thread: 2ms, or a share of the parent's (12%)"] = (
        None
    )
    prefer: Annotated[
        Literal["both", "size", "latency", "throughput"], "what is wanted small: bytes times milliseconds, or one; or most rows a second"
    ] = "both"
    candidates: Annotated[int, "how many pruned shapes are trained in full at most", Between(1, 100)] = 4
    budget: Annotated[Duration | None, "time for all of it: what does not fit in is trained for fewer epochs or left untrained"] = None
    students: Annotated[list[str] | None, "sizes to distill into from nothing, beside what is pruned: new:resnet-tiny"] = None
    quantize: Annotated[bool, "quantize every candidate"] = True
    embedding_bits: Annotated[Literal[8, 4], "of each number in a table of embeddings"] = 8
    engine: Annotated[
        Literal["onnxruntime", "openvino", "auto"], "what shall run them; auto takes the one that runs the quantized parent fastest"
    ] = "onnxruntime"
    recovery: Annotated[str, "method of distillation by which candidates learn"] = "logits"
    reasons: Annotated[bool, "also whether the child has the parent's reasons, where answers of the task can be explained"] = True
    training: Training = Training(epochs=3, learning_rate=1e-4)
    unlabelled: Annotated[
        str | None, "more rows, without labels, on which the parent's answers are learnt: a file or folder with the columns of DATA"
    ] = None
    data: DataOptions = DataOptions()


def shrink(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """The smallest model that passes, and its report on the proof rows.

    Raises DataError where the floor cannot be proven with these rows, or the parent has seen them; ModelError for a parent that is
    no better than always saying the same.
    """
    from penjing.core.durable import write_text
    from penjing.engine import appraise, gate, relabel, remarks
    from penjing.engine.baseline import fit_baseline, measure_baseline
    from penjing.stages import _provable, _search, _shapes

    engines = quantize.possible_engines(_search.quantizing(options)) if options.quantize else []
    if engines:
        quantize.foretell(runtime)
    gate.warm_up()
    search = _search.begin(base, task, data, options, out / MADE, runtime)
    data, options = search.data, search.options
    floor, told = _provable.provable(search)
    search, trimmed = _search.trim(search, floor)
    search, tried = _search.settle_engine(search, engines)
    candidates = _shapes.shapes(search)
    parent_ms = _shapes.time_untrained(candidates, search)
    _search.train(_shapes.promising(candidates, parent_ms, search), floor, search)
    chosen, sequence = _search.choose(candidates, search)
    shutil.copytree(chosen.model.path, out, ignore=shutil.ignore_patterns(CHECKPOINTS), dirs_exist_ok=True)  # type: ignore[union-attr]
    if not (options.folds or options.floor_agreement):  # which no stage alone has
        write_text(out / "recipe.toml", _search.recipe(chosen, search))
    simplest = fit_baseline(task, data.role("train"), base, runtime.quiet)
    points = _search.curve(candidates, simplest, search)
    shutil.rmtree(search.work)
    model, role = ModelDir.open(out), "tune" if options.folds else "proof"
    tested = None if options.folds else options.floor
    report = appraise.appraise("shrink", model, task, data.role(role), role, runtime, parent=base, floor=tested)  # type: ignore[arg-type]
    report.baseline = simplest and measure_baseline(simplest, task, data.role(role))  # type: ignore[arg-type]
    if tested:
        report.facts["proof"] |= {**told, "sequence": sequence}
    report.facts |= {**trimmed, **chosen.facts, "curve": points, "chosen": chosen.name, "engines": tried}
    report.notes += remarks.remarks(report)
    if options.reasons and "explain" in task.stages and not options.folds:
        report.notes += _compare_reasons(report, [base, model], task, data.role(role), runtime)  # type: ignore[arg-type]
    return model, relabel.as_agreement(report, task) if options.floor_agreement else report


def _compare_reasons(report: Report, models: list[ModelDir], task: Task, rows: Examples, runtime: Runtime) -> list[str]:
    """Add to the facts how far the reasons of parent and child agree; sentences for the card."""
    from penjing.engine import words
    from penjing.engine.reasons import opened
    from penjing.engine.reasons_kept import reasons_kept

    try:
        need("captum", "explain")
    except MissingExtra as missing:
        return [f"whether the child has the parent's reasons was not asked: {missing}"]
    report.facts["reasons"] = reasons_kept([opened(each, task, runtime) for each in models], rows, runtime)
    plain = words.plain(report)
    return [*words.group_sentences(plain), *words.reasons_sentences(plain)]
