"""The same architecture with weights drawn anew: what pretraining gave is seen by its absence."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penjing.core.contracts import Anatomy
from penjing.methods.finetune import Learner, whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRETRAINED = False


@dataclass(frozen=True)
class Options:
    """None: how the weights learn is said by the options of training."""


def fits(anatomy: Anatomy) -> bool:
    """Any model."""
    return True


def apply(model: "PreTrainedModel", anatomy: Anatomy, settings: Options) -> Learner:
    """A model of the same config, as it would be before any training."""
    fresh = type(model)(model.config).to(model.device)  # type: ignore[arg-type]  # its stub is wrapped wrongly
    note = "Its weights were drawn anew: of the model it began with it has only architecture and vocabulary."
    return whole(fresh)._replace(drawn=True, note=note)
