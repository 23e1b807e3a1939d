"""Every weight learns; lower layers more slowly or later where asked.

Howard, Ruder 2018, "Universal language model fine-tuning for text classification": discriminative rates, section 3.1; gradual
unfreezing, section 3.3 (there a layer an epoch; here blocks, the head first, the embedding last, and any time between two).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from penjing.core.contracts import Anatomy
from penjing.core.options import Between
from penjing.methods.finetune import Learner, Rate, whole, within

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRETRAINED = False


@dataclass(frozen=True)
class Options:
    """How the blocks differ; without these two they do not."""

    layer_decay: Annotated[float, "factor of the learning rate from one block to the next lower one", Between(0.01, 1)] = 1.0
    unfreeze: Annotated[float, "epochs until the next lower block begins to learn; 0 for all at once", Between(0, 1000)] = 0.0


def fits(anatomy: Anatomy) -> bool:
    """Any model."""
    return True


def apply(model: "PreTrainedModel", anatomy: Anatomy, settings: Options) -> Learner:
    """The model itself, all weights free in their time."""
    rates = {name: Rate(settings.layer_decay**depth, settings.unfreeze * depth) for name, depth in depths(model, anatomy).items()}
    return whole(model)._replace(rates=rates)


def depths(model: "PreTrainedModel", anatomy: Anatomy) -> dict[str, int]:
    """How far below the head each parameter is: 0 the head, 1 the last block, and one more than the blocks the embedding.

    What is registered after a block and before the next, such as a last norm, counts with the block.
    """
    found, depth = {}, len(anatomy.blocks) + 1
    for name, _ in model.named_parameters():
        depth = next((len(anatomy.blocks) - i for i, block in enumerate(anatomy.blocks) if within(name, (block,))), depth)
        found[name] = 0 if within(name, anatomy.head) else depth
    return found
