"""Train a model on labelled rows: a pretrained one further, or a new one (new:<size>) from nothing."""

import itertools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from penjing.core.contracts import Prediction, Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import ModelError, nearest
from penjing.core.examples import Examples
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.core.new_text import NewText
from penjing.core.options import Between
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.core.unlabelled import described, unseen
from penjing.methods.semi import Functions

METHODS, SEMI = "methods.finetune", "methods.semi"
TRAININGS = "training"  # in the folder of an output while it is made: what the trainings leave that rows without labels take


@dataclass(frozen=True)
class Options:
    """How and for what the model is trained."""

    task: Annotated[str | None, "what the model shall do (penjing tasks); known from MODEL where it was trained before"] = None
    method: Annotated[str, "which weights learn"] = "full"
    agreement: Annotated[float, "pulls two answers under different dropout together (R-Drop); 0 for none", Between(0, 100)] = 0.0
    label_smoothing: Annotated[float, "share of each target that is spread evenly over all answers; 0 for none", Between(0, 0.99)] = 0.0
    head: Annotated[
        Literal["one-label", "many-labels", "number"] | None,
        "kind of answer of a row; a column of lists means many labels, one of fractions a number, any other one label",
    ] = None
    new_head: Annotated[bool, "learn a new set of labels instead of those that MODEL knows"] = False
    class_weights: Annotated[Literal["none", "balanced"], "balanced: rare labels count as much as frequent ones"] = "none"
    folds: Annotated[int | None, "for few rows: learn from all, and tell the quality by a cross-fit in so many rounds", Between(2, 100)] = (
        None
    )
    unlabelled: Annotated[str | None, "more rows, without labels, to learn from: a file or folder with the columns of DATA"] = None
    semi: Annotated[str, "how these are learnt from: pseudo-labels, or consistency, which needs --augment"] = "pseudo-labels"
    confidence: Annotated[float, "how sure of a row without label a model must be to learn from it", Between(0, 1)] = 0.95
    training: Training = Training()
    new_text: NewText = NewText()
    data: DataOptions = DataOptions()
    settings: Any = None


def finetune(base: ModelDir | str, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Train on the train rows, keep what does best on the tune rows, measure the saved directory on these.

    base      a model directory, or "new:<size>"
    """
    from penjing.engine import appraise, create, deliver, gate, tokenizers

    gate.warm_up()
    tune_rows, unlabelled = data.role("tune"), None
    if data.unlabelled is None:
        loaded, training = train_once(base, task, data.role("train"), tune_rows, options, runtime, out)
    else:
        (loaded, training), unlabelled = _with_unlabelled(base, task, data, tune_rows, options, runtime, out)
    model, parity = deliver.save_checked(loaded, tune_rows, out, runtime)
    report = appraise.appraise("finetune", model, task, tune_rows, "tune", runtime)
    report.facts |= {"training": training, "parity": parity, "parameters": loaded.parameters}
    if options.class_weights == "balanced":
        report.notes.append("rare labels counted as much as frequent ones in training, so they are answered more often than they occur")
    if isinstance(base, str) and task.media == "text":
        report.facts["tokenizer"] = tokenizers.describe(loaded.processor, create.texts(task, tune_rows))
    if unlabelled:
        report.facts["unlabelled"] = unlabelled
        report.notes += unlabelled["left_out"]
    return model, report


def train_once(
    base: ModelDir | str, task: Task, train_rows: Examples, tune_rows: Examples, options: Options, runtime: Runtime, out: Path,
    loss: Any = None, strengths: Sequence[float] = (1.0,),
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """A model that began with `base` and learnt from these rows, an engine.load.Loaded, and the facts of its training.

    loss        in the place of the task's own, as the options have it
    strengths   as `engine.fit.fit` has them
    """
    from penjing.engine import create, fit, priors

    loaded = create.begun(base, task, train_rows, runtime, new_text=options.new_text)
    usual, repeats = _loss(task, train_rows, options)
    begun = learner(loaded, options, runtime)
    with priors.begun(loaded, train_rows.only(task.target_columns)) as standardised:
        learnt = fit.fit(
            loaded, standardised(loss or usual), train_rows, tune_rows, options.training, runtime, out, repeats, begun, strengths
        )
    return loaded, learnt


def _loss(task: Task, rows: Examples, options: Options) -> tuple[Callable[[Any, Any], Any], int]:
    """The task's loss as the options have it, and how many times a batch holds its rows for it."""
    from penjing.engine import regularizers, weigh

    loss, repeats = cast(Callable[[Any, Any], Any], task.loss), 1
    if options.agreement:
        loss, repeats = regularizers.agreeing(task, options.agreement), regularizers.REPEATS
    if options.label_smoothing:
        loss = regularizers.smoothing(task, loss, options.label_smoothing, repeats)
    if options.class_weights == "balanced":
        loss = weigh.weighted(loss, weigh.balanced(task, rows.only(task.target_columns)))
    return loss, repeats


def _with_unlabelled(
    base: ModelDir | str, task: Task, data: Data, tune_rows: Examples, options: Options, runtime: Runtime, out: Path
) -> tuple[Any, dict[str, Any]]:
    """What `train_once` gives, by the chosen way to learn from rows without labels too; and the facts of these."""
    from penjing.engine import batches, measure
    from penjing.engine.backends.torch import TorchBackend

    target, numbers = task.target_columns[0], itertools.count(1)
    given, notes = unseen(data)

    def train(rows: Examples, loss: Any = None, strengths: Sequence[float] = (1.0,)) -> Any:
        folder = out / f"{TRAININGS}-{next(numbers)}"  # each training has its own checkpoints
        return train_once(base, task, rows, tune_rows, options, runtime, folder, loss, strengths)

    def answer(trained: Any, rows: Examples) -> list[Prediction]:
        loaded, _ = trained
        encoded = batches.Encoded(rows, task, loaded.processor, labelled=False, quiet=runtime.quiet)
        return measure.answer(TorchBackend(loaded.model), loaded.task, encoded, runtime.quiet, "labelling")

    def join(labelled: Examples, unlabelled: Examples, labels: Sequence[str] | None = None) -> Examples:
        return labelled.followed_by(unlabelled, target, labels or [task.labels[0]] * len(unlabelled))

    functions = Functions(train, answer, join, task.loss, task.logits)
    trained, num_sure = find(SEMI, options.semi).apply(functions, data.role("train"), given, options.confidence)
    for folder in out.glob(f"{TRAININGS}-*"):
        shutil.rmtree(folder)
    facts = {**described(given), "left_out": notes}
    return trained, {**facts, "method": options.semi, "confidence": options.confidence, "sure": num_sure, "share": num_sure / len(given)}


def learner(loaded: Any, options: Options, runtime: Runtime) -> Any:
    """What the chosen method makes of a loaded model, a methods.finetune.Learner; `loaded` then holds the model that is trained.

    Raises ModelError where the model has not what the method works on.
    """
    import torch

    from penjing.engine.anatomy import anatomy

    parts, method = anatomy(loaded.model), find(METHODS, options.method)
    if not method.fits(parts):
        fitting = [name for name in names(METHODS) if find(METHODS, name).fits(parts)]
        raise ModelError(
            f"{options.method} does not fit a model of type {loaded.model.config.model_type}", wanted=nearest(options.method, fitting)
        )
    torch.manual_seed(runtime.seed)
    begun = method.apply(loaded.model, parts, options.settings)
    loaded.model, loaded.fresh = begun.model, loaded.fresh or begun.drawn
    return begun
