"""Train a model on labelled rows: a pretrained one further, or a new one (new:<size>) from nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.errors import ModelError, nearest
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.tokenizing import Tokenizing
from penjing.core.training import Training

METHODS = "methods.finetune"


@dataclass(frozen=True)
class Options:
    """How and for what the model is trained."""

    task: Annotated[str | None, "what the model shall do (penjing tasks); known from MODEL where it was trained before"] = None
    method: Annotated[str, "which weights learn"] = "full"
    agreement: Annotated[float, "pulls two answers under different dropout together (R-Drop); 0 for none", Between(0, 100)] = 0.0
    head: Annotated[
        Literal["one-label", "many-labels", "number"] | None,
        "kind of answer of a row; a column of lists means many labels, one of fractions a number, any other one label",
    ] = None
    new_head: Annotated[bool, "learn a new set of labels instead of those that MODEL knows"] = False
    class_weights: Annotated[Literal["none", "balanced"], "balanced: rare labels count as much as frequent ones"] = "none"
    folds: Annotated[int | None, "for few rows: learn from all, and tell the quality by a cross-fit in so many rounds", Between(2, 100)] = (
        None
    )
    training: Training = Training()
    tokenizing: Tokenizing = Tokenizing()
    data: DataOptions = DataOptions()
    settings: Any = None


def finetune(base: ModelDir | str, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Train on the train rows, keep what does best on the tune rows, measure the saved directory on these.

    base      a model directory, or "new:<size>"
    """
    from penjing.engine import agree, appraise, create, deliver, fit, gate, load, priors, tokenizers, weigh

    gate.warm_up()
    train_rows, tune_rows = data.role("train"), data.role("tune")
    if isinstance(base, str):
        loaded = create.create(base.removeprefix(create.PREFIX), task, train_rows, runtime, tokenizing=options.tokenizing)
    else:
        loaded = load.load(base, task, runtime)
    loss, repeats = (agree.agreeing(task, options.agreement), agree.REPEATS) if options.agreement else (task.loss, 1)
    if options.class_weights == "balanced":
        loss = weigh.weighted(loss, weigh.balanced(task, train_rows.only(task.target_columns)))
    begun = learner(loaded, options, runtime)
    with priors.begun(loaded, train_rows.only(task.target_columns)) as standardised:
        training = fit.fit(loaded, standardised(loss), train_rows, tune_rows, options.training, runtime, repeats, begun)
    model, parity = deliver.save_checked(loaded, tune_rows, out, runtime)
    report = appraise.appraise("finetune", model, task, tune_rows, "tune", runtime)
    report.facts |= {"training": training, "parity": parity, "parameters": loaded.parameters}
    if options.class_weights == "balanced":
        report.notes.append("rare labels counted as much as frequent ones in training, so they are answered more often than they occur")
    if isinstance(base, str) and task.media == "text":
        report.facts["tokenizer"] = tokenizers.describe(loaded.processor, create.texts(task, tune_rows))
    return model, report


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
