"""A smaller model of the parts of a large one, before it has learnt anything."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from penjing.core.contracts import Anatomy
from penjing.core.data import Data
from penjing.core.errors import ModelError, OptionError, nearest
from penjing.core.find import find, names
from penjing.core.progress import told
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import create
from penjing.engine.anatomy import with_weights
from penjing.engine.batches import Encoded, measuring_batches, on_device, tokens_of
from penjing.engine.load import Loaded
from penjing.engine.widths import dissected
from penjing.methods.prune import Shown

METHODS = "methods.prune"
SCORED = 256  # training rows on which importance is measured
SHAPES = {"layers": "layers", "ffn": "feed-forward", "heads": "heads", "hidden": "hidden"}  # flag of distill -> method of prune


class Taken(NamedTuple):
    """What is left of a model.

    loaded   it, untrained
    facts    what was removed
    share    of what the method counts, the part that stayed
    zeros    names of its weights whose zeros stay zeros while it recovers
    """

    loaded: Loaded
    facts: dict[str, Any]
    share: float
    zeros: tuple[str, ...]


def take_away(
    whole: Loaded, data: Data, method: str, settings: Any, runtime: Runtime, scored: int = SCORED, training: Training | None = None
) -> Taken:
    """What a method leaves of a model; `whole` stays as it was. Where its weights are not in memory what is left of them is not either.

    scored     how many training rows importance is measured on
    training   says how many of them at once

    Raises ModelError when the model has not what the method removes.
    """
    parts, module, task = dissected(whole.model), find(METHODS, method), whole.task
    if not module.fits(parts):
        fitting = [name for name in names(METHODS) if find(METHODS, name).fits(parts)]
        raise ModelError(
            f"{method} does not fit a model of type {whole.model.config.model_type}", wanted=nearest(method, fitting) or "another model"
        )
    encoded = Encoded(data.role("train", scored), task, whole.processor)
    order = measuring_batches(encoded, *(training or Training()).usual_batch)
    batches = (on_device(encoded.batch(rows), whole.model.device) for rows in order)
    counted = partial(tokens_of, data.role("train"), task, whole.processor, runtime.quiet)
    with told(runtime.quiet):
        smaller = module.apply(whole.model, parts, Shown(whole.weights, batches, task.loss, whole.processor, counted), settings)
    model = with_weights(whole.model, smaller.changes, smaller.weights, smaller.generation)
    answering = task.of(model.config.to_dict()) if smaller.processor else task
    stored = None if whole.stored is None else smaller.weights
    left = Loaded(answering, model, smaller.processor or whole.processor, stored=stored)
    return Taken(left, smaller.facts, smaller.share, smaller.zeros)


def zeros_of(weights: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Any]:
    """The share of zeros in these weights, for a card; nothing of none."""
    counts = [(weight.numel(), int((weight == 0).sum())) for weight in map(weights.__getitem__, names)]
    total, zeros = (sum(each) for each in zip(*counts)) if counts else (0, 0)
    return {"zero_share": zeros / total, "weights": total} if total else {}


def student(
    teacher: Loaded, data: Data, name: str | None, shape: Mapping[str, int | None], runtime: Runtime, scored: int = SCORED
) -> Loaded:  # fmt: skip
    """Who learns: new:<size> or a directory; without a name the teacher in another shape, as `shares` has it.

    Raises ModelError for one that is larger than its teacher, or that reads other tokens.
    """
    if name:
        found = create.begun(name, teacher.task, data.role("train"), runtime, teacher.processor)
        require_student(name, found, teacher)
        return found
    found = teacher
    for method, share in shares(dissected(teacher.model), teacher.model.config, shape):
        found = take_away(found, data, method, find(METHODS, method).Options(keep_share=share), runtime, scored).loaded
    return found


def require_student(name: str, student: Loaded, teacher: Loaded) -> None:
    """Raise ModelError for a student that is larger than its teacher, or that reads other tokens."""
    if student.parameters > teacher.parameters:
        raise ModelError(
            f"{name} is larger than its teacher: {student.parameters:,} parameters, the teacher {teacher.parameters:,}",
            wanted="a smaller student",
            fix="penjing families lists the sizes",
        )
    if teacher.task.media == "text" and student.processor.get_vocab() != teacher.processor.get_vocab():
        raise ModelError(
            f"{name} reads other tokens than its teacher, whose answers to them mean nothing",
            wanted="a student with the tokenizer of its teacher",
            fix="name new:<size>, which takes it over, or --layers and --ffn of the teacher",
        )


def shares(parts: Anatomy, config: Any, shape: Mapping[str, int | None]) -> list[tuple[str, float]]:
    """A shape as methods of prune, and the share that each leaves.

    shape   how many of each of SHAPES the student has; as many as the teacher where it is None

    Raises OptionError for one that the teacher has no room for or its config no words, ModelError where the config cannot say it at all.
    """
    found = []
    for name, method in SHAPES.items():
        wanted, flag, module = shape[name], f"--{name}", find(METHODS, method)
        if wanted is None:
            continue
        if not module.fits(parts):
            problem = f"{flag} does not fit a model of type {config.model_type}: its config cannot say it"
            fitting = [f"--{other}" for other, pruning in SHAPES.items() if find(METHODS, pruning).fits(parts)]
            raise ModelError(problem, wanted=" or ".join([*fitting, "--student new:<size>"]), fix="penjing families lists the sizes")
        there, possible = (module.size(config, parts, number) for number in (math.inf, wanted))
        if wanted != possible:
            few = "the most there are" if possible == there else "the nearest that its config can say"
            raise OptionError(
                f"{flag} cannot be {wanted}: the teacher has {there}", wanted=f"{possible}, {few}", fix=f"pass {flag} {possible}"
            )
        if wanted < there:
            found.append((method, wanted / there))
    if not found:
        few = " or ".join(f"--{name}" for name, wanted in shape.items() if wanted)
        raise OptionError("a student of this shape is as large as its teacher", wanted="a smaller one", fix=f"lower {few}")
    return found
