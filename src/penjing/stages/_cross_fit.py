"""Too few rows to keep any aside for a proof: an honest interval by cross-fitting instead.

In each round another part of the rows is kept from everything, the training of the parent included; a model is made from the other rows by
the whole procedure, its choices included; then it answers that part. So every row is answered once, by models that have not seen it.

Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penjing.core.contracts import Prediction, Task
from penjing.core.data import OVERLAP_LIMIT, Data
from penjing.core.errors import DataError, ModelError
from penjing.core.model_dir import NEW, ModelDir
from penjing.core.progress import say
from penjing.core.roles import ROLES
from penjing.core.runtime import Runtime
from penjing.core.unlabelled import add_unlabelled
from penjing.stages import finetune


def cross_fit(
    stage: Callable[..., Any], base: ModelDir | str, task: Task, data: Data, options: Any, work: Path, runtime: Runtime
) -> dict[str, Any]:  # fmt: skip
    """What models are worth that `stage` makes of these rows as it made the one that is delivered: facts for its report.

    base    what the stage begins with; trained anew for each round where it has seen these rows
    work    a folder for the models of the rounds
    """
    from penjing.engine.appraise import predict
    from penjing.engine.baseline import fit_baseline
    from penjing.engine.estimate import estimated

    rows: list[int] = []
    said: dict[str, list[Prediction]] = {"parent": [], "child": [], "baseline": []}
    quiet = dataclasses.replace(runtime, quiet=True)
    shrinks = stage is not finetune.finetune
    for number, part in enumerate(data.rounds, 1):
        say(f"cross-fitting, round {number} of {len(data.rounds)}", runtime.quiet)
        folder, kept = work / str(number), part.role("proof")
        parent = _unseeing(base, task, data, part, folder / "parent", quiet) if shrinks else base
        model, _ = stage(parent, task, part, options, out=folder / "model", runtime=quiet)
        said["child"] += predict(model, task, kept, quiet)
        said["parent"] += predict(parent, task, kept, quiet) if isinstance(parent, ModelDir) and shrinks else []
        simplest = fit_baseline(task, part.role("train"), model)
        said["baseline"] += simplest.predict(kept) if simplest else []
        rows += part.roles.rows("proof").tolist()
    answers = {name: answered for name, answered in said.items() if answered}
    return estimated(task, data.examples.take(rows), answers, len(data.rounds), runtime.seed)


def require_refittable(base: ModelDir, data: Data) -> None:
    """Raise DataError where the model has seen rows of these data and cannot be trained again without a part of them."""
    if _seen(base, data):
        _origin(base, data)


def _seen(base: ModelDir, data: Data) -> bool:
    return max(data.seen_share(base, role) for role in ROLES) > OVERLAP_LIMIT


def _unseeing(base: Any, task: Task, data: Data, part: Data, out: Path, runtime: Runtime) -> ModelDir:
    """`base`, or where it has seen these rows a model that was trained as it was, on the rows of this round."""
    if not _seen(base, data):
        return base
    origin, options, seed = _origin(base, data)
    if options.unlabelled:
        add_unlabelled(part, options.unlabelled, options.data, task)
    made, _ = finetune.finetune(origin, task, part, options, out=out, runtime=dataclasses.replace(runtime, seed=seed))
    return made


def _origin(base: ModelDir, data: Data) -> tuple[ModelDir | str, Any, int]:
    """What the last step of the model's lineage began with, its options and its seed."""
    from penjing.stages._frame import stage_options

    step = base.lineage[-1] if base.lineage else {}
    if step.get("stage") == "finetune" and step["data"]["fingerprint"] == data.examples.fingerprint:
        path = step["parent"]["path"]
        try:
            origin = path if path.startswith(NEW) else ModelDir.open(path)
        except ModelError:
            origin = None
        if origin and (isinstance(origin, str) or origin.sha256() == step["parent"]["sha256"]):
            return origin, stage_options("finetune", {**step["options"], "folds": None}), step["seed"]
    raise DataError(
        f"{data.examples.name}: {base} was trained on some of these rows, and cannot be trained again without a part of them",
        wanted="a model that has not seen them, or one that penjing finetune made of just these data from a model that is still there",
        fix="pass other rows, or leave --folds out",
    )
