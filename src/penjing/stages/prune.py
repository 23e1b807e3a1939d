"""Take parts of a model away, then let it recover by learning from the whole one."""

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

METHODS = "methods.prune"


@dataclass(frozen=True)
class Options:
    """What is taken away, and how long the recovery lasts (--epochs 0 for none)."""

    method: Annotated[str, "what is taken away"] = "feed-forward"
    recovery: Annotated[str, "method of distillation by which it recovers"] = "logits"
    scoring_rows: Annotated[int, "training rows on which importance is measured", Between(1, 1_000_000)] = 256
    training: Training = Training(epochs=3, learning_rate=1e-4)
    data: DataOptions = DataOptions()
    settings: Any = None


def prune(
    base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime, teacher: ModelDir | None = None
) -> tuple[ModelDir, Report]:
    """Remove what matters least and train what stays on the answers of `teacher`, which is `base` unless it was pruned before.

    Raises ModelError when the model has not what the method removes.
    """
    from penjing.engine import appraise, deliver, gate, load, remarks, teach
    from penjing.engine.smaller import take_away

    teach.require_writer(options.recovery, task, data)
    gate.warm_up()
    whole = load.load(base, task, runtime)
    smaller, removed = take_away(whole, data, options.method, options.settings, runtime, options.scoring_rows, options.training)
    training: dict[str, Any] = {}
    if options.training.epochs and find(METHODS, options.method).RECOVERS:
        taught_by = load.load(teacher, task, runtime) if teacher else whole
        settings = find("methods.distill", options.recovery).Options()
        training = teach.teach(taught_by, smaller, data, options.recovery, settings, options.training, runtime, out)
    model, parity = deliver.save_checked(smaller, data.role("tune"), out, runtime)
    report = appraise.appraise("prune", model, task, data.role("tune"), "tune", runtime, parent=base)
    report.facts |= {"removed": removed, "training": training, "parity": parity, "parameters": smaller.parameters}
    report.notes += remarks.remarks(report)
    return model, report
