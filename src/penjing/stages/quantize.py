"""Store a model in a few bits: as the artefact of an engine on which that is really faster, or for torch, its weights alone."""

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import OptionError
from penjing.core.examples import Examples
from penjing.core.find import find
from penjing.core.model_dir import INDEX, ModelDir
from penjing.core.options import Between, flags
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime, int8_kernels, processor
from penjing.core.training import Training

METHODS = "methods.quantize"
MOST_LOSS = 0.005  # of the primary metric on the tune rows: what quantizing may cost without a word


@dataclass(frozen=True)
class Options:
    """How, for which engine, by which rows the ranges of activations are found, or what rounding does to answers; how long it learns first.

    The usual engine is a fixed one and not what is fastest today: the same command shall write the same bytes.
    """

    method: Annotated[str, "how numbers are stored"] = "int8"
    engine: Annotated[
        Literal["torch", "onnxruntime", "openvino", "auto"] | None,
        "what will run it, usually the first that the method writes for; auto makes one for each that is installed and keeps the fastest",
    ] = None
    calibration_rows: Annotated[int, "training rows on which methods calibrate that do", Between(1, 1_000_000)] = 256
    recovery: Annotated[str, "method of distillation by which, with --epochs, it learns to answer as before although it is rounded"] = (
        "logits"
    )
    training: Training = Training(epochs=0, learning_rate=5e-5)
    data: DataOptions = DataOptions()
    settings: Any = None


def idle(method: str) -> dict[str, str]:
    """Flags that can do nothing with a method, and why."""
    why = vars(find(METHODS, method)).get("NOT_LEARNT")
    return dict.fromkeys(["recovery", *(flag.name for flag in flags(Training))], why) if why else {}


def quantize(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Write the artefact, or the weights, beside config and processor; calibrated on train rows, measured on tune rows.

    With more than 0 epochs the model first learns, rounded in every forward pass, to answer as `base` does.
    Weights alone are written module by module. Where there is no room for the parent it is never held whole, and not measured beside.
    Raises MissingExtra where the engine is not installed.
    """
    from penjing.engine import appraise, deliver, gate, load, remarks, rewriting

    engines = possible_engines(options)
    gate.warm_up()
    tune, learns = data.role("tune"), options.training.epochs > 0
    for_torch = engines == ["torch"]
    if not for_torch:
        foretell(runtime)
    held = not for_torch or learns or rewriting.fits(load.outline(base, type(task), runtime))
    parent = load.load(base, task, runtime) if held else None
    engine, tried = (engines[0], []) if parent is None else choose_engine(engines, base, parent, data, options, runtime)
    whole, training = learn(parent, base, task, data, options, engine, out, runtime) if parent and learns else (parent, {})
    if whole is None or for_torch:
        model, facts, parameters = write_weights(base, whole, task, data, options, out, runtime)
    else:
        model, facts = write_artefact(whole, data, options, engine, out)
        parameters = whole.parameters
    parity = deliver.check_artefact(model, task, tune, runtime, parent)
    report = appraise.appraise("quantize", model, task, tune, "tune", runtime, parent=base if parent else None)
    report.facts |= {"quantized": facts, "parity": parity, "parameters": parameters, "engines": tried}
    report.facts |= {"training": training} if learns else {}
    report.notes += remarks.remarks(report)
    if parent is None:
        report.notes.append(rewriting.UNMEASURED)
    if find(METHODS, options.method).CALIBRATES:
        report.notes += _one_sided(task, data.role("train", options.calibration_rows))
    if options.engine == "auto" and len(engines) == 1:
        report.notes.append(f"--engine auto had nothing to choose from: only {engine} is installed")
    loss = report.before[task.primary].value - report.after[task.primary].value if parent else 0.0
    if loss > MOST_LOSS:
        report.notes.append(f"{task.primary} fell by {100 * loss:.1f} points on the tuning rows, more than the half point that is usual")
    return model, report


def learn(
    teacher: Any, base: ModelDir, task: Task, data: Data, options: Options, engine: str, out: Path, runtime: Runtime
) -> tuple[Any, dict[str, Any]]:
    """`base` with weights that have learnt to be rounded, as numbers that are whole still; facts of the training.

    Raises OptionError for settings of the method that cannot be learnt with, ModelError where nothing would be rounded.
    """
    from penjing.engine import load, rewriting, rounded, teach

    teach.require_writer(options.recovery, task, data)
    student, settings = load.load(base, task, runtime), find("methods.distill", options.recovery).Options()
    method = find(METHODS, options.method)
    with rounded.rounded(student.model, method.rounding(student.model, options.settings, engine, rewriting.stored_dtype(base))):
        training = teach.teach(teacher, student, data, options.recovery, settings, options.training, runtime, out)
    return student, training


def _one_sided(task: Task, rows: Examples) -> list[str]:
    """A note where the rows to calibrate on have one label, of a task that has several."""
    found = {str(label) for column in task.target_columns for label in rows.column(column)}
    if len(task.labels) < 2 or len(found) != 1:
        return []
    return [f"the {len(rows):,} rows it was calibrated on have one label, {found.pop()!r}; what others need is found less surely"]


def possible_engines(options: Options) -> list[str]:
    """The engines to choose from.

    Raises OptionError for one that the method does not write for, MissingExtra where none is installed.
    """
    from penjing.engine import backends

    known = list(find(METHODS, options.method).ENGINES)
    if options.engine == "auto":
        there = [name for name in known if backends.installed(name)]
        return there or [backends.require(known[0])]
    if options.engine not in (None, *known):
        raise OptionError(f"--method {options.method} writes nothing for {options.engine}", wanted=" or ".join([*known, "auto"]))
    return [backends.require(options.engine or known[0])]


def foretell(runtime: Runtime) -> None:
    """Say, before anything is done, what int8 can be expected to bring on this processor."""
    machine = processor()
    kernels = int8_kernels(machine["instructions"])
    hope = f"int8 kernels of this processor: {kernels}"
    doubt = f"{machine['processor']} tells of no instruction that adds up products of 8-bit numbers: int8 may be slower than fp32 here"
    say(hope if kernels else doubt, runtime.quiet)


def choose_engine(
    engines: list[str], base: ModelDir, whole: Any, data: Data, options: Options, runtime: Runtime
) -> tuple[str, list[dict[str, Any]]]:
    """The engine that serves `base` best here, and an entry of `engine.contest` for each that was tried; none for an only one."""
    from penjing.engine.contest import contest

    if len(engines) == 1:
        return engines[0], []
    with tempfile.TemporaryDirectory(prefix="penjing-") as folder:
        artefacts = [write_artefact(whole, data, options, name, Path(folder, name))[0] for name in engines]
        tried = contest(base, whole, artefacts, data.role("tune"), runtime)
    return next(name for name, entry in zip(engines, tried) if entry["status"] == "chosen"), tried


def write_artefact(whole: Any, data: Data, options: Options, engine: str, out: Path) -> tuple[ModelDir, dict[str, Any]]:
    """The engine's files, config and processor in `out`; the facts of the method."""
    from penjing.engine.batches import Encoded, measuring_batches
    from penjing.engine.load import task_name

    task = whole.task
    encoded = Encoded(data.role("train", options.calibration_rows), task, whole.processor, labelled=False)
    batches = (encoded.batch(rows) for rows in measuring_batches(encoded, 16, 4096))
    out.mkdir(parents=True, exist_ok=True)
    facts = find(METHODS, options.method).apply(whole.model.eval(), batches, options.settings, engine, out, task.reads)
    config = {name: value for name, value in whole.model.config.to_diff_dict().items() if name != "auto_map"}  # the engine needs no code
    (out / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n", "utf-8")
    whole.processor.save_pretrained(out)
    if facts["writes"]:
        whole.model.generation_config.save_pretrained(out)
    known = {"task": task_name(task), "labels": task.labels, "engine": engine, "precision": facts["precision"]}
    model = ModelDir(out, {}).record(**known, wide_sums=facts["wide_sums"], writes=facts["writes"])
    return model, {**facts, "kernels": int8_kernels(processor()["instructions"])}


def write_weights(
    base: ModelDir, whole: Any | None, task: Task, data: Data, options: Options, out: Path, runtime: Runtime
) -> tuple[ModelDir, dict[str, Any], int]:
    """Weights, config and processor in `out`; the facts of the method; how many numbers the model has learnt.

    whole   the model in memory; None where it shall be read from disk, module by module
    """
    from penjing.engine import few_bits, rewriting
    from penjing.engine.batches import Encoded
    from penjing.engine.load import load_processor, task_name

    method = find(METHODS, options.method)
    encoded = Encoded(data.role("train", options.calibration_rows), task, load_processor(base, task), labelled=False)
    batch = encoded.batch(range(rewriting.rows_at_once(encoded.lengths)))
    if whole is None:
        rewriter = rewriting.from_disk(base, task, out, batch, runtime)
    else:
        rewriter = rewriting.from_memory(whole, out, batch, runtime)
    facts = method.rewrite(rewriter, options.settings)
    rewriter.finish(out)
    for path in (each for each in base.companions() if each.name != INDEX):
        shutil.copyfile(path, out / path.name)
    before = {name: value for name, value in base.config.items() if name != "quantization_config"}
    decision = whole.task.decision if whole else {}
    config = before | decision | {"architectures": [type(rewriter.model).__name__]} | facts.pop("config")
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    facts["precision"] = few_bits.precision(config) or facts["precision"]
    model = ModelDir(out, {}).record(task=task_name(task), labels=task.labels, engine="torch", precision=facts["precision"])
    return model, facts, sum(p.numel() for p in rewriter.model.parameters())
