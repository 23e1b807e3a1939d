"""Only the head learns, on the features that the body gives as it is: shows what pretraining knew already.

Alain, Bengio 2017, "Understanding intermediate layers using linear classifier probes". The head is all that stands above the body,
so a pooler too: what BERT calls so is a layer of the head in DistilBERT and RoBERTa, and pretraining may have left it out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penjing.core.contracts import Anatomy
from penjing.methods.finetune import Learner, Rate, whole, within

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRETRAINED = True


@dataclass(frozen=True)
class Options:
    """None: how the head learns is said by the options of training."""


def fits(anatomy: Anatomy) -> bool:
    """A head that can be told from the body."""
    return bool(anatomy.head)


def apply(model: "PreTrainedModel", anatomy: Anatomy, settings: Options) -> Learner:
    """The head in training mode; the body neither learns, nor drops anything out, nor moves the statistics of its norms."""
    rates = {name: Rate() for name, _ in model.named_parameters() if within(name, anatomy.head)}
    return whole(model)._replace(rates=rates, active=anatomy.head, note="The body is as it was; only what stands above it has learnt.")
