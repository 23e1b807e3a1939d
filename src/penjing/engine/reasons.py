"""Why a model answers a row as it does, and whether what is told of it can be trusted.

Letters   U units of a row
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy
import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Example, Prediction, Task
from penjing.core.errors import OptionError
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.core.progress import progress
from penjing.core.runtime import Runtime
from penjing.engine.asked import Row, asked, randomized, row
from penjing.engine.backends import Backend, open_backend
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.load import Loaded, load, load_processor
from penjing.engine.threads import torch_threads
from penjing.engine.units import Unit
from penjing.maths.faithfulness import Faithfulness, completeness_gap, faithfulness, rank_correlation
from penjing.methods.explain import Asked

METHODS = "methods.explain"
AT_ONCE = 16  # inputs
RANDOM_MODELS, ALIKE_MODELS = 9, 3  # that an input is shown to; of which explanations are compared
MOVES = 2.0  # times as much as the most that a random model is moved by it an input must move a model that has learnt something
ALIKE = 0.5  # rank correlation with explanations of random models above which an explanation is of the input, not of the model
FEW = 5  # units, below which ranks agree by chance


@dataclass
class Explanation:
    """One row explained.

    name        what the row is called
    row         the row as it was asked about
    answer      what the model says
    explained   whose logit the scores are of: a label, or the answer
    scores      (U,) how much each unit speaks for it
    whole       that number for the input, and `nothing` for an input that says nothing
    gap         how far scores that should add up to the difference are from it, as a share; None for methods whose scores do not
    trust       deletion and insertion against random orders; None for a single unit
    warnings    plain sentences of what speaks against the explanation
    traced      training rows that pushed the answer, and that are alike, as `influence.traced` gives them; None where none were asked about
    """

    name: str
    row: Row
    answer: Prediction
    explained: str
    method: str
    scores: numpy.ndarray
    whole: float
    nothing: float
    gap: float | None
    trust: Faithfulness | None
    warnings: list[str] = field(default_factory=list)
    traced: dict[str, Any] | None = None

    @property
    def units(self) -> list[Unit]:
        """What the scores are of."""
        return self.row.units

    def told(self) -> dict[str, Any]:
        """For programs."""
        found: dict[str, Any] = {
            "input": self.name,
            "value": self.answer.value,
            "score": self.answer.score,
            "explained": self.explained,
            "method": self.method,
            "units": [{**unit.told, "score": round(float(score), 6)} for unit, score in zip(self.units, self.scores)],
            "logit": round(self.whole, 6),
            "logit_of_nothing": round(self.nothing, 6),
            "completeness_gap": self.gap,
        }
        if self.trust:
            found["faithfulness"] = {name: numpy.round(value, 6).tolist() for name, value in self.trust._asdict().items()}
        return {**found, **(self.traced or {}), "warnings": self.warnings}


def opened(base: ModelDir, task: Task, runtime: Runtime) -> Loaded:
    """A model to be explained: a module, or what answers for an engine's artefact, of which only answers can be had."""
    if base.engine == "torch":
        return load(base, task, runtime)
    return Loaded(task.of(base.config), open_backend(base, task, runtime), load_processor(base, task), base)  # type: ignore[arg-type]


def answering(loaded: Loaded) -> Backend:
    """The same as what answers."""
    return TorchBackend(loaded.model) if isinstance(loaded.model, PreTrainedModel) else loaded.model


def methods_for(seen: Asked) -> list[str]:
    """The methods that fit a model as it was asked."""
    has = {"answers": True, "gradients": seen.slopes, "attention": seen.attention is not None, "maps": seen.maps is not None}
    return [name for name in names(METHODS) if has[find(METHODS, name).NEEDS]]


def require_label(task: Task, label: str | None) -> None:
    """Raise OptionError for a label that the task does not have."""
    if label is not None and label not in task.labels:
        known = " or ".join(map(repr, task.labels[:20])) or "no --label, as its answers have none"
        raise OptionError(f"--label cannot be {label!r}", wanted=known, fix="name a label of the model")


def require_fitting(loaded: Loaded, example: Example, method: str) -> None:
    """Raise OptionError for a method that does not fit the model, as it answers a row (with the answer in it where that is written)."""
    fitting = methods_for(asked(loaded.model, loaded.task, row(loaded.model, loaded.task, example, loaded.processor), loaded.processor))
    if method not in fitting:
        raise OptionError(f"--method {method} does not fit this model", wanted=" or ".join(fitting), fix="choose one of these")


def explain(
    loaded: Loaded, rows: Sequence[tuple[str, Example, Prediction]], method: str, settings: Any, runtime: Runtime, *,
    part: int | None = None, label: str | None = None,
) -> list[Explanation]:  # fmt: skip
    """Every row explained and held against random models.

    rows   (name, row with the answer in it where that is written, answer)

    Raises OptionError for a part that an answer does not have.
    """
    if isinstance(loaded.model, PreTrainedModel):
        loaded.model.requires_grad_(False)  # slopes are taken of what it saw
    module, found = find(METHODS, method), list[Explanation]()
    number, part = _number_of(loaded, label, part)
    with torch_threads(runtime.threads), progress("explaining", len(rows), runtime.quiet) as shown:
        for name, example, answer in rows:
            one = row(loaded.model, loaded.task, example, loaded.processor, part, number)
            seen = asked(loaded.model, loaded.task, one, loaded.processor)
            if part is not None and not 0 <= part < (parts := int((one.choice >= 0).sum())):
                last = parts - 1
                raise OptionError(f"--part cannot be {part}: the answer has no such part", wanted=f"0 to {last}", fix="count from 0")
            found.append(_explained(name, one, seen, answer, label or "the answer", method, module, settings))
            shown.step()
    if isinstance(loaded.model, PreTrainedModel):
        _hold_against_random(loaded, found, module, settings, runtime)
    return found


def _number_of(loaded: Loaded, label: str | None, part: int | None) -> tuple[int | None, int | None]:
    """Which output is explained, and which part of the answer, for a label by its name."""
    if label is None:
        return None, part
    place = loaded.task.labels.index(label)
    return (1, place) if loaded.task.problem_type == "multi_label_classification" else (place, part)


def _explained(
    name: str, one: Row, seen: Asked, answer: Prediction, explained: str, method: str, module: ModuleType, settings: Any
) -> Explanation:
    scores = module.apply(seen, settings).numpy()
    whole, nothing = _ends(seen)
    gap = completeness_gap(scores, whole, nothing) if module.COMPLETE else None
    trust = faithfulness(lambda there: _answers(seen, there), scores) if seen.num_units > 1 else None
    found = Explanation(name, one, answer, explained, method, scores, whole, nothing, gap, trust)
    unread = seen.num_units - len({*seen.units.unique().tolist()} - {seen.num_units})
    if unread:
        found.warnings.append(f"{unread} of {seen.num_units} words or cells lie beyond what the model reads: the input was cut")
    if trust and trust.gain <= 0:
        found.warnings.append("taking words or patches away in this order changes the answer no faster than any order does")
    return found


def _ends(seen: Asked) -> tuple[float, float]:
    """The number for the input, and for one that says nothing."""
    with torch.no_grad():
        return tuple(seen.answer(torch.cat([seen.seen, seen.nothing])).tolist())  # type: ignore[return-value]


def _answers(seen: Asked, there: numpy.ndarray) -> numpy.ndarray:
    """(K,) numbers for inputs of which only some units are there, (K, U) bool."""
    parts = torch.from_numpy(there).split(AT_ONCE)
    with torch.no_grad():
        return torch.cat([seen.answer(seen.partly(part)).float().cpu() for part in parts]).numpy()


def _hold_against_random(loaded: Loaded, found: Sequence[Explanation], module: ModuleType, settings: Any, runtime: Runtime) -> None:
    """Warn of explanations that a model which has learnt nothing would have too."""
    moved, alike = numpy.zeros((RANDOM_MODELS, len(found))), numpy.zeros((ALIKE_MODELS, len(found)))
    with torch_threads(runtime.threads), progress("random models", RANDOM_MODELS, runtime.quiet) as shown:
        for seed in range(RANDOM_MODELS):
            other: PreTrainedModel = randomized(loaded.model, seed)
            for i, explanation in enumerate(found):
                seen = asked(other, loaded.task, explanation.row, loaded.processor)
                whole, nothing = _ends(seen)
                moved[seed, i] = abs(whole - nothing)
                if seed < ALIKE_MODELS:
                    theirs = module.apply(seen, settings).numpy()
                    alike[seed, i] = rank_correlation(numpy.abs(theirs), numpy.abs(explanation.scores))
            shown.step()
    for i, explanation in enumerate(found):
        if abs(explanation.whole - explanation.nothing) < MOVES * moved[:, i].max():
            explanation.warnings.append("a model with random weights is moved about as much by this input: there may be nothing to explain")
        if len(explanation.units) >= FEW and alike[:, i].mean() > ALIKE:
            explanation.warnings.append("models with random weights have nearly the same explanation: it is of the input, not of the model")
