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
from penjing.methods.finetune import whole


def teach(
    teacher: Loaded, student: Loaded, data: Data, method: str, settings: Any, training: Training, runtime: Runtime, out: Path,
    zeros: tuple[str, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """Train `student` in place on the teacher's answers to the train rows, in `out`; facts of the run, as `fit` gives them.

    zeros   names of its parameters whose zeros stay zeros
    """
    hooks: list[Any] = []
    try:
        return learn(student, loss_by(teacher, student, method, settings, hooks), data, training, runtime, out, zeros)
    finally:
        for hook in hooks:
            hook.remove()


def learn(
    student: Loaded, loss: Loss, data: Data, training: Training, runtime: Runtime, out: Path, zeros: tuple[str, ...] = ()
) -> dict[str, Any]:  # fmt: skip
    """Train `student` in place on the train rows by any loss, in `out`; facts of the run, as `fit` gives them."""
    train_rows = data.role("train")
    with priors.begun(student, train_rows.only(student.task.target_columns)) as standardised:
        learner = whole(student.model)._replace(zeros=zeros)
        return fit(student, standardised(loss), train_rows, data.role("tune"), training, runtime, out, learner=learner)


def loss_by(teacher: Loaded, student: Loaded, method: str, settings: Any, hooks: list[Any]) -> Loss:
    """The loss of a student of `teacher`, whose weights are held still; `hooks` gets the handles of what hangs on the models then."""
    task = teacher.task
    teacher.model.requires_grad_(False)
    parts = [anatomy(each.model) for each in (teacher, student)]
    stacks = tuple([*each.depth.values()] or [each.blocks] for each in parts)
    functions = Functions(task.loss, task.logits, task.interact, stacks, hooks)  # type: ignore[arg-type]
    return find("methods.distill", method).apply(teacher.model, student.model, functions, settings)
