"""Take parts of a model away, then let it recover by learning from the whole one.

A model that has no room in memory is made smaller where it lies, tensor by tensor, as long as nothing needs it whole.
"""

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.options import Between, flags
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.core.unlabelled import taught_too
from penjing.stages._checks import needs_whole

METHODS = "methods.prune"
TRAININGS = "training"  # in the folder of an output while it is made: what the trainings of all rounds but the last leave


@dataclass(frozen=True)
class Options:
    """What is taken away, and how long the recovery lasts (--epochs 0 for none)."""

    method: Annotated[str, "what is taken away"] = "feed-forward"
    recovery: Annotated[str, "method of distillation by which it recovers"] = "logits"
    scoring_rows: Annotated[int, "training rows on which importance is measured", Between(1, 1_000_000)] = 256
    rounds: Annotated[
        int, "take it away in so many equal ratios, each followed by its part of the epochs and importance measured anew", Between(1, 100)
    ] = 1
    training: Training = Training(epochs=3, learning_rate=1e-4)
    unlabelled: Annotated[
        str | None, "more rows, without labels, on which the teacher's answers are learnt: a file or folder with the columns of DATA"
    ] = None
    data: DataOptions = DataOptions()
    settings: Any = None

    def __post_init__(self) -> None:
        if self.rounds > 1:
            self.after(1, 1.0)  # whether the method can stop halfway

    def after(self, number: int, share: float) -> Any:
        """The settings of the method for a round, where so much has stayed of what there was at first."""
        wanted = self.settings.keep_share ** (number / self.rounds)
        return self.settings if self.rounds == 1 else dataclasses.replace(self.settings, keep_share=min(1.0, wanted / share))


def idle(method: str) -> dict[str, str]:
    """Flags that can do nothing with a method, and why."""
    module, training = find(METHODS, method), [flag.name for flag in flags(Training)]
    found = {} if module.LOOKS else {"scoring_rows": "looks at no rows to measure importance"}
    return found if module.RECOVERS else found | dict.fromkeys(["recovery", "rounds", "unlabelled", *training], "trains nothing")


def prune(
    base: ModelDir, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime, teacher: ModelDir | None = None
) -> tuple[ModelDir, Report]:
    """Remove what matters least and train what stays on the answers of `teacher`, which is `base` unless it was pruned before.

    Where there is no room for `base` it is never held whole, and not measured beside.
    Raises ModelError when the model has not what the method removes.
    """
    from penjing.engine import appraise, deliver, gate, load, remarks, rewriting, teach
    from penjing.engine.smaller import take_away, zeros_of

    teach.require_writer(options.recovery, task, data)
    gate.warm_up()
    tune, held = data.role("tune"), bool(needs_whole(options)) or rewriting.fits(load.outline(base, type(task), runtime))
    smaller = whole = load.load(base, task, runtime) if held else rewriting.on_disk(base, task, runtime)
    recovers = options.training.epochs and find(METHODS, options.method).RECOVERS
    taught_by = load.load(teacher, task, runtime) if teacher and recovers else whole
    settings = find("methods.distill", options.recovery).Options()
    more, told = taught_too(data)
    part = dataclasses.replace(options.training, epochs=options.training.epochs / options.rounds)
    share, rounds = 1.0, list[dict[str, Any]]()
    for number in range(1, options.rounds + 1):
        taken = take_away(smaller, data, options.method, options.after(number, share), runtime, options.scoring_rows, options.training)
        smaller, share = taken.loaded, share * taken.share
        folder = out if number == options.rounds else out / f"{TRAININGS}-{number}"  # each training has its own checkpoints
        training: dict[str, Any] = {}
        if recovers:
            training = teach.teach(taught_by, smaller, data, options.recovery, settings, part, runtime, folder, taken.zeros, more)
        rounds.append({"share": share, "removed": taken.facts, "training": training})
    for folder in out.glob(f"{TRAININGS}-*"):
        shutil.rmtree(folder)
    if held:
        model, parity = deliver.save_checked(smaller, tune, out, runtime)
    else:
        model = rewriting.write(smaller, rewriting.stored_dtype(base), out, runtime)
        parity = deliver.check_artefact(model, task, tune, runtime, None)
    removed = taken.facts | zeros_of(smaller.weights if held else rewriting.Files(model), taken.zeros)
    report = appraise.appraise("prune", model, task, tune, "tune", runtime, parent=base if held else None)
    report.facts |= {"removed": removed, "training": training, "parity": parity, "parameters": smaller.parameters, **told}
    if options.rounds > 1:
        report.facts["rounds"] = rounds
    report.notes += [*told.get("unlabelled", {}).get("left_out", []), *remarks.remarks(report)]
    report.notes += [] if held else [rewriting.UNMEASURED]
    return model, report
