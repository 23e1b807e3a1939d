"""A student learns from a teacher: what distill does, and what every prune ends with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Batch, RowLoss, Task
from penjing.core.data import Data
from penjing.core.errors import DataError, TaskError
from penjing.core.examples import Examples
from penjing.core.find import find
from penjing.core.generation import Generation
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import priors, relabel
from penjing.engine.anatomy import anatomy
from penjing.engine.fit import fit
from penjing.engine.load import Loaded
from penjing.engine.precision import arithmetic, choose_precision
from penjing.engine.train import Loss
from penjing.methods.distill import Functions
from penjing.methods.finetune import whole

METHODS = "methods.distill"
LIKELIEST = Generation(temperature=0.0)


def require_writer(method: str, task: Task | type[Task], data: Data | None = None) -> None:
    """Raise where a method lets the teacher write answers that there are not.

    TaskError for a task whose answers are not written, DataError for rows that go on without a prompt.
    """
    if not find(METHODS, method).WRITES:
        return
    if not task.generates:
        raise TaskError(f"{method} is for answers that are written token by token, and these are not", fix="choose --method logits")
    if data and task.self_supervised and "prompt" not in data.examples.columns:
        raise DataError(
            f"{data.examples.name}: these rows have no prompts, so there is nothing that a teacher could answer",
            wanted="columns prompt and completion",
            fix="choose --method logits",
        )


def teach(
    teacher: Loaded, student: Loaded, data: Data, method: str, settings: Any, training: Training, runtime: Runtime, out: Path,
    zeros: tuple[str, ...] = (), more: Examples | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train `student` in place on the teacher's answers to the train rows, in `out`; facts of the run, as `fit` gives them.

    zeros   names of its parameters whose zeros stay zeros
    more    rows without labels, which are learnt from too
    """
    rows, num_known = _taught_rows(teacher, data.role("train"), more, method, settings, runtime)
    hooks: list[Any] = []
    torch.manual_seed(runtime.seed)
    try:
        precision = choose_precision(teacher.model, training, runtime)  # its own: a small student may be one that gains nothing by bf16
        loss = loss_by(teacher, student, method, settings, hooks, num_known, precision)
        asked = None if find(METHODS, method).WRITES else teacher.model  # what it has written is there before the first step
        return learn(student, loss, rows, data.role("tune"), training, runtime, out, zeros, asked)
    finally:
        for hook in hooks:
            hook.remove()


def learn(
    student: Loaded, loss: Loss, train_rows: Examples, tune_rows: Examples, training: Training, runtime: Runtime, out: Path,
    zeros: tuple[str, ...] = (), teacher: PreTrainedModel | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train `student` in place by any loss, in `out`; facts of the run, as `fit` gives them.

    teacher   whom the loss asks about each batch
    """
    with priors.begun(student, train_rows.only(student.task.target_columns)) as standardised:
        learner = whole(student.model)._replace(zeros=zeros)
        return fit(student, standardised(loss), train_rows, tune_rows, training, runtime, out, learner=learner, teacher=teacher)


def loss_by(
    teacher: Loaded, student: Loaded, method: str, settings: Any, hooks: list[Any], num_known: int | None = None, precision: str = "fp32"
) -> Loss:  # fmt: skip
    """The loss of a student of `teacher`, whose weights are held still.

    hooks       gets the handles of what hangs on the models then
    num_known   rows of lower number have true labels; None where all do
    precision   that the teacher answers in
    """
    task = teacher.task
    teacher.model.requires_grad_(False)
    teacher.model.to(memory_format=torch.channels_last)  # type: ignore[call-arg]  # a convolution is faster so
    parts = [anatomy(each.model) for each in (teacher, student)]
    stacks = tuple([*each.depth.values()] or [each.blocks] for each in parts)
    attention = tuple({block: found[:3] for block, found in zip(each.blocks, each.attention)} for each in parts)
    loss = _of_labelled(task, num_known)
    functions = Functions(_asking(teacher.model, precision), loss, task.logits, task.interact, stacks, attention, hooks)  # type: ignore[arg-type]
    return find(METHODS, method).apply(teacher.model, student.model, functions, settings)


def _asking(teacher: Any, precision: str) -> Callable[[dict[str, Any]], Any]:
    @torch.inference_mode()
    def ask(inputs: dict[str, Any]) -> Any:
        with arithmetic(precision, teacher.device.type):
            return teacher.eval()(**inputs)

    return ask


def _taught_rows(
    teacher: Loaded, rows: Examples, more: Examples | None, method: str, settings: Any, runtime: Runtime
) -> tuple[Examples, int]:
    """The rows that are learnt from, and how many of them, which come first, have a truth: their own, or the one that the teacher writes.

    Rows without labels have its answers as targets, whose places tell where distributions are compared.
    """
    writes, column = find(METHODS, method).WRITES, relabel.answer_column(teacher.task)
    how = Generation(temperature=0.0, beams=settings.beams) if writes else LIKELIEST
    if writes:
        rows = rows.holding(column, relabel.answers(rows, teacher, runtime, how), teacher.task.columns[column])
    if more is None:
        return rows, len(rows)
    both = rows.followed_by(more, column, relabel.answers(more, teacher, runtime, how))
    return both, len(both) if writes else len(rows)


def _of_labelled(task: Task, num_known: int | None) -> Loss:
    """The task's loss, which is 0 for rows whose targets do not hold."""

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        found = task.loss(outputs, batch)
        holds = torch.ones(len(batch.rows), dtype=torch.bool) if batch.labelled is None else batch.labelled
        if num_known is not None:
            holds = holds & (batch.rows < num_known)
        if holds.all():
            return found
        _, entries = batch.rows.unique_consecutive(return_counts=True)
        return RowLoss(found.total * holds[entries.cumsum(0) - entries].to(found.total), found.count)

    return loss
