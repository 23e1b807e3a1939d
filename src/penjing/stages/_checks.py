"""What is wrong with a call is said before its rows are read and long before anything is trained."""

from typing import Any

from penjing.core.contracts import Task
from penjing.core.errors import ModelError, OptionError, TaskError, nearest
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir


def task_type(base: ModelDir | str, named: str | None, stage: str) -> type[Task]:
    """The task that the user named, else the one that the model was made for.

    Raises TaskError where neither is known, or they do not go together; OptionError for a task that is not there.
    """
    made_for = base.task if isinstance(base, ModelDir) else None
    name, shown = named or made_for, base.path if isinstance(base, ModelDir) else base
    if name is None:
        fix = "pass --task" if stage == "finetune" else "penjing finetune it first"
        raise TaskError(f"{shown} does not say which task it is for", wanted=nearest("", names("tasks")), fix=fix)
    task: type[Task] = find("tasks", name).TASK
    if made_for and find("tasks", made_for).TASK.media != task.media:
        raise TaskError(
            f"{shown} was made for {made_for}, not for {name}", wanted=f"a model that reads {task.media}", fix="leave --task out"
        )
    if stage not in task.stages:
        raise TaskError(f"{stage} makes no sense for {name}", wanted=" or ".join(task.stages), fix="penjing --help tells what each does")
    return task


def require_models(stage: str, base: ModelDir | str, options: Any, task: type[Task], makes: bool) -> None:
    """Raise unless the stage can work with `base` and with every model that its options name: sizes, engines, labels.

    makes   whether it trains or changes the model
    """
    from penjing.engine.create import PREFIX, check_size
    from penjing.engine.load import require_torch

    if isinstance(base, ModelDir):
        if makes:
            require_torch(base)
        if stage != "finetune" and base.labels is None:
            raise ModelError(f"{base.path} does not name its labels", wanted="id2label in config.json", fix="penjing finetune it first")
    elif stage == "finetune":
        check_size(base.removeprefix(PREFIX), task())
    else:
        fix = f"penjing finetune {base} DATA --out DIRECTORY makes one"
        raise OptionError(f"{stage} needs a trained model, not {base}", wanted="a model directory", fix=fix)
    for size in vars(options).get("students") or []:
        if not size.startswith(PREFIX):
            raise OptionError(f"--students cannot be {size!r}", wanted="new:<size>", fix="penjing families lists the sizes")
        check_size(size.removeprefix(PREFIX), task())
    if "student" in vars(options):
        if options.student is None:
            raise OptionError("--student must be given", wanted="new:<size> or a model directory", fix="penjing families lists the sizes")
        if options.student.startswith(PREFIX):
            check_size(options.student.removeprefix(PREFIX), task())
        else:
            require_torch(ModelDir.open(options.student))
    if child := vars(options).get("child"):
        _require_same_labels(base, ModelDir.open(child))


def _require_same_labels(base: Any, child: ModelDir) -> None:
    if child.labels != base.labels:
        raise ModelError(
            f"{child.path} answers with other labels than {base.path}, or has them in another order: {child.labels}",
            wanted=f"{base.labels}",
            fix="compare a child with the model it was made from",
        )
