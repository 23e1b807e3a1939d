"""Train a model on labelled rows: a pretrained one further, or a new one (new:<size>) from nothing."""

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

METHODS = "methods.finetune"


@dataclass(frozen=True)
class Options:
    """How and for what the model is trained."""

    task: Annotated[str | None, "what the model shall do (penjing tasks); known from MODEL where it was trained before"] = None
    method: Annotated[str, "which weights learn"] = "full"
    agreement: Annotated[float, "pulls two answers under different dropout together (R-Drop); 0 for none", Between(0, 100)] = 0.0
    new_head: Annotated[bool, "learn a new set of labels instead of those that MODEL knows"] = False
    training: Training = Training()
    data: DataOptions = DataOptions()
    settings: Any = None


def finetune(base: ModelDir | str, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Train on the train rows, keep what does best on the tune rows, measure the saved directory on these.

    base      a model directory, or "new:<size>"
    """
    from penjing.engine import agree, appraise, create, deliver, fit, gate, load

    gate.warm_up()
    train_rows, tune_rows = data.role("train"), data.role("tune")
    if isinstance(base, str):
        loaded = create.create(base.removeprefix(create.PREFIX), task, train_rows, runtime)
    else:
        loaded = load.load(base, task, runtime)
    loaded.model = find(METHODS, options.method).apply(loaded.model, options.settings)
    loss, repeats = (agree.agreeing(task, options.agreement), agree.REPEATS) if options.agreement else (task.loss, 1)
    training = fit.fit(loaded, loss, train_rows, tune_rows, options.training, runtime, repeats)
    model, parity = deliver.save_checked(loaded, tune_rows, out, runtime)
    report = appraise.appraise("finetune", model, task, tune_rows, "tune", runtime)
    report.facts |= {"training": training, "parity": parity, "parameters": loaded.parameters}
    return model, report
