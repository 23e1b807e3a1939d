"""Low-rank updates of the linear layers of every block, and the whole head; merged into the weights in the end.

Hu et al. 2022, "LoRA: low-rank adaptation of large language models", section 4.1; on all linear layers rather than on query and value
alone, as Dettmers et al. 2023, "QLoRA", section 4, found necessary to match full training. By the library peft.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from penjing.core.contracts import Anatomy
from penjing.core.errors import need
from penjing.core.options import Between
from penjing.methods.finetune import Learner, Rate, within

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PRETRAINED = True
UPDATES = ".lora_"  # how peft names what it adds


@dataclass(frozen=True)
class Options:
    """Size and strength of the updates; MissingExtra where peft is not installed."""

    rank: Annotated[int, "rank of each update", Between(1, 1024)] = 8
    alpha: Annotated[float, "strength of the updates: they are scaled by alpha / rank", Between(0.001, 10_000)] = 16.0
    update_dropout: Annotated[float, "dropout before each update", Between(0, 0.99)] = 0.0

    def __post_init__(self) -> None:
        need("peft", "lora")  # said when the method is chosen, not after what stands before it in a recipe


def fits(anatomy: Anatomy) -> bool:
    """Linear layers in the blocks."""
    return any(anatomy.linears)


def apply(model: "PreTrainedModel", anatomy: Anatomy, settings: Options) -> Learner:
    """The model with an update beside each linear layer of its blocks: zero at first, so that it answers as before."""
    from peft import LoraConfig, LoraModel

    linears = [name for block in anatomy.linears for name in block]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.update_dropout, target_modules=linears)  # type: ignore[arg-type]
    adapted = LoraModel(model, config, "default")  # puts the updates into `model` itself
    return Learner(
        model,
        {name: Rate() for name, _ in model.named_parameters() if UPDATES in name or within(name, anatomy.head)},
        adapted.merge_and_unload,
        note="Low-rank updates, merged into the weights: this is an ordinary directory, which needs no peft.",
    )
