"""A smaller model of the parts of a large one, before it has learnt anything."""

from typing import Any

from penjing.core.contracts import Anatomy
from penjing.core.data import Data
from penjing.core.errors import ModelError, OptionError, nearest
from penjing.core.find import find, names
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import create
from penjing.engine.anatomy import anatomy, with_weights
from penjing.engine.batches import Encoded, measuring_batches, on_device, tokens_of
from penjing.engine.load import Loaded
from penjing.methods.prune import Shown
from penjing.methods.prune.feed_forward import ROUND_TO

METHODS = "methods.prune"
SCORED = 256  # training rows on which importance is measured


def take_away(
    whole: Loaded, data: Data, method: str, settings: Any, runtime: Runtime, scored: int = SCORED, training: Training | None = None
) -> tuple[Loaded, dict[str, Any]]:
    """The smaller model, untrained, and what was removed; `whole` is left as it was.

    scored     how many training rows importance is measured on
    training   says how many of them at once

    Raises ModelError when the model has not what the method removes.
    """
    parts, module, task = anatomy(whole.model), find(METHODS, method), whole.task
    if not module.fits(parts):
        fitting = [name for name in names(METHODS) if find(METHODS, name).fits(parts)]
        raise ModelError(
            f"{method} does not fit a model of type {whole.model.config.model_type}", wanted=nearest(method, fitting) or "another model"
        )
    encoded = Encoded(data.role("train", scored), task, whole.processor)
    order = measuring_batches(encoded, *(training or Training()).usual_batch)
    batches = (on_device(encoded.batch(rows), whole.model.device) for rows in order)
    shown = Shown(batches, task.loss, whole.processor, lambda: tokens_of(data.role("train"), task, whole.processor, runtime.quiet))
    smaller = module.apply(whole.model, parts, shown, settings)
    model = with_weights(whole.model, smaller.changes, smaller.weights, smaller.generation)
    if smaller.processor:
        return Loaded(task.of(model.config.to_dict()), model, smaller.processor), smaller.facts
    return Loaded(task, model, whole.processor), smaller.facts


def student(teacher: Loaded, data: Data, name: str | None, layers: int | None, ffn: int | None, runtime: Runtime) -> Loaded:
    """Who learns: new:<size> or a directory; without a name the teacher with so many layers and feed-forward neurons.

    Raises ModelError for one that is larger than its teacher, or that reads other tokens.
    """
    if name:
        found = create.begun(name, teacher.task, data.role("train"), runtime, teacher.processor)
        require_student(name, found, teacher)
        return found
    found = teacher
    for method, share in shares(anatomy(teacher.model), teacher.model.config, layers, ffn):
        found, _ = take_away(found, data, method, find(METHODS, method).Options(keep_share=share), runtime)
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


def shares(parts: Anatomy, config: Any, layers: int | None, ffn: int | None) -> list[tuple[str, float]]:
    """A shape as methods of prune, and the share that each leaves.

    Raises OptionError for one that the teacher has no room for, ModelError where its config cannot say it.
    """
    found, known = [], config.to_dict()
    for flag, method, wanted, there in (
        ("--layers", "layers", layers, max(map(len, parts.depth.values()), default=0)),
        ("--ffn", "feed-forward", ffn, max((known[name] for name in parts.width), default=0)),
    ):
        if wanted is None:
            continue
        if not find(METHODS, method).fits(parts):
            problem = f"{flag} does not fit a model of type {config.model_type}: its config cannot say it"
            raise ModelError(problem, wanted="--student new:<size>", fix="penjing families lists the sizes")
        if wanted > there or (flag == "--ffn" and wanted % ROUND_TO):
            even = f", a multiple of {ROUND_TO}" if flag == "--ffn" else ""
            raise OptionError(f"{flag} cannot be {wanted}: the teacher has {there}", wanted=f"at most {there}{even}", fix=f"lower {flag}")
        if wanted < there:
            found.append((method, wanted / there))
    if not found:
        raise OptionError("a student of this shape is as large as its teacher", wanted="a smaller one", fix="lower --layers or --ffn")
    return found
