"""A student learns from a teacher: what distill does, and what every prune ends with."""

from pathlib import Path
from typing import Any

from penjing.core.data import Data
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import priors
from penjing.engine.anatomy import anatomy
from penjing.engine.fit import fit
from penjing.engine.load import Loaded
from penjing.engine.train import Loss
from penjing.methods.distill import Functions


def teach(
    teacher: Loaded, student: Loaded, data: Data, method: str, settings: Any, training: Training, runtime: Runtime, out: Path
) -> dict[str, Any]:  # fmt: skip
    """Train `student` in place on the teacher's answers to the train rows, in `out`; facts of the run, as `fit` gives them."""
    return learn(student, loss_by(teacher, student, method, settings), data, training, runtime, out)


def learn(student: Loaded, loss: Loss, data: Data, training: Training, runtime: Runtime, out: Path) -> dict[str, Any]:
    """Train `student` in place on the train rows by any loss, in `out`; facts of the run, as `fit` gives them."""
    train_rows = data.role("train")
    with priors.begun(student, train_rows.only(student.task.target_columns)) as standardised:
        return fit(student, standardised(loss), train_rows, data.role("tune"), training, runtime, out)


def loss_by(teacher: Loaded, student: Loaded, method: str, settings: Any) -> Loss:
    """The loss of a student of `teacher`, whose weights are held still."""
    task = teacher.task
    teacher.model.requires_grad_(False)
    functions = Functions(task.loss, task.logits, task.interact, (anatomy(teacher.model).blocks, anatomy(student.model).blocks))
    return find("methods.distill", method).apply(teacher.model, student.model, functions, settings)
