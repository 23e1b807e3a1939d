"""Teach a small model to answer as a large one does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.core.unlabelled import taught_too

METHODS = "methods.distill"


@dataclass(frozen=True)
class Options:
    """Who learns, and how."""

    student: Annotated[str | None, "the model that learns: new:<size>, or a directory of a smaller one"] = None
    layers: Annotated[int | None, "without --student: the teacher with so many of its layers", Between(1, 1000)] = None
    ffn: Annotated[int | None, "without --student: the teacher with so many neurons in each feed-forward part", Between(8, 10**6)] = None
    heads: Annotated[int | None, "without --student: the teacher with so many heads in each attention", Between(1, 1000)] = None
    hidden: Annotated[
        int | None,
        "without --student: the teacher so wide, with fewer heads where all its heads are as wide",
        Between(1, 10**6),
    ] = None
    method: Annotated[str, "what it learns of the teacher"] = "logits"
    training: Training = Training(epochs=6, learning_rate=1e-4)
    labels: Annotated[
        list[str] | None,
        "for a teacher that has learnt no labels (an encoder, of entailment, of language): their words, each a word or label=sentence; "
        "rows need no labels then, and its answers stand for the truth",
    ] = None
    unlabelled: Annotated[
        str | None, "more rows, without labels, on which the teacher's answers are learnt: a file or folder with the columns of DATA"
    ] = None
    data: DataOptions = DataOptions()
    settings: Any = None

    @property
    def shape(self) -> dict[str, int | None]:
        """What a student has of a teacher's own parts, as engine.smaller.shares reads it."""
        return {"layers": self.layers, "ffn": self.ffn, "heads": self.heads, "hidden": self.hidden}


def distill(base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Train a student on the teacher's answers to the train rows; the teacher is `base`.

    A new student takes the teacher's tokenizer or image processor, so that both see the same.
    """
    from penjing.engine import appraise, deliver, gate, load, smaller, teach

    teach.require_writer(options.method, task, data)
    gate.warm_up()
    if task.taught:
        return _by_answers(base, task, data, options, out, runtime)
    more, told = taught_too(data)
    teacher = load.load(base, task, runtime)
    student = smaller.student(teacher, data, options.student, options.shape, runtime)
    training = teach.teach(teacher, student, data, options.method, options.settings, options.training, runtime, out, more=more)
    model, parity = deliver.save_checked(student, data.role("tune"), out, runtime)
    report = appraise.appraise("distill", model, task, data.role("tune"), "tune", runtime, parent=base)
    report.facts |= {"training": training, "parity": parity, "parameters": student.parameters, **told}
    report.notes += told.get("unlabelled", {}).get("left_out", [])
    return model, report


def _by_answers(base: ModelDir, task: Task, data: Data, options: Options, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """A student of a teacher that is asked otherwise: it learns the answers themselves, and is measured by them."""
    from penjing.engine import appraise, create, deliver, load, relabel, teach
    from penjing.engine.baseline import fit_baseline, measure_baseline

    data, taught = relabel.by_parent(data, base, task, runtime), find("tasks", str(task.taught)).TASK(task.labels)
    train, tune = data.role("train"), data.role("tune")
    student = create.begun(str(options.student), taught, train, runtime, load.load_processor(base, task))
    training = teach.learn(student, taught.loss, train, tune, options.training, runtime, out)
    model, parity = deliver.save_checked(student, tune, out, runtime)
    report = appraise.appraise("distill", model, taught, tune, "tune", runtime)
    simplest = fit_baseline(taught, train, model, runtime.quiet)
    report.baseline = simplest and measure_baseline(simplest, taught, tune)
    report.parent = base.describe()
    report.facts |= {"training": training, "parity": parity, "parameters": student.parameters}
    return model, relabel.as_agreement(report, taught)
