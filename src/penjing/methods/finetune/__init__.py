"""Which weights learn, and how fast. A method has `Options`, and

PRETRAINED                                      whether it builds on weights that have learnt something: then it is refused for new:<size>
fits(anatomy) -> bool                           whether the model has what the method works on
apply(model, anatomy, settings) -> Learner      what the training loop shall train; nothing is trained here

`model` may be changed in place until `Learner.plain` is called. Weights are drawn from torch's generator, which the caller has seeded.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Rate(NamedTuple):
    """How a weight learns: `factor` times the learning rate, from the time when `begins` epochs are over."""

    factor: float = 1.0
    begins: float = 0.0


class Learner(NamedTuple):
    """A model as the training loop meets it.

    model     what is run and trained
    rates     the Rate of each parameter of `model` that learns, by its name; all others stay as they are
    plain     () -> the transformers model with what was learnt, in the architecture that was given
    drawn     whether all of its weights were drawn anew, so that it has learnt nothing yet
    active    paths of the modules that are in training mode; outside of them nothing drops out and no statistics move
    note      what the card says of how it was learnt; empty where the numbers say it all
    zeros     names of the parameters whose zeros stay zeros
    """

    model: Any
    rates: Mapping[str, Rate]
    plain: Callable[[], Any]
    drawn: bool = False
    active: tuple[str, ...] = ("",)
    note: str = ""
    zeros: tuple[str, ...] = ()


def whole(model: "PreTrainedModel") -> Learner:
    """Every weight learns at the same rate: what a training does that has no method."""
    return Learner(model, {name: Rate() for name, _ in model.named_parameters()}, lambda: model)


def within(name: str, paths: tuple[str, ...]) -> bool:
    """Whether a parameter belongs to one of the modules at `paths`."""
    return any(name.startswith(f"{path}.") for path in paths)
