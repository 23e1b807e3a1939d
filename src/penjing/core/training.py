"""How a model is trained: the options that finetune, distill and the recovery after prune share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penjing.core.options import Between


@dataclass(frozen=True)
class Training:
    """Options of the loop in engine/train.py; every stage that trains takes them."""

    epochs: Annotated[float, "passes over the training rows", Between(0, 10_000)] = 3.0
    learning_rate: Annotated[float, "highest learning rate", Between(0, 10)] = 5e-5
    batch_rows: Annotated[int, "most rows in a batch", Between(1, 1_000_000)] = 32
    batch_tokens: Annotated[int, "most tokens in a batch of texts, padding included", Between(1, 100_000_000)] = 4096
    optimizer: Annotated[Literal["adamw", "sgd"], "adamw, or sgd with momentum"] = "adamw"
    momentum: Annotated[float, "momentum of sgd", Between(0, 0.9999)] = 0.9
    schedule: Annotated[Literal["constant", "linear", "cosine"], "how the learning rate falls"] = "linear"
    warmup_share: Annotated[float, "share of the steps in which the learning rate rises", Between(0, 1)] = 0.06
    weight_decay: Annotated[float, "pull of the weights towards zero; none on norms and biases", Between(0, 10)] = 0.01
    clip: Annotated[float, "largest norm of a step's gradient; 0 for none", Between(0, 1e9)] = 1.0
    precision: Annotated[Literal["auto", "fp32", "bf16"], "arithmetic of the forward pass; auto is bf16 where the hardware has it"] = "auto"
    patience: Annotated[int, "epochs without a better measure on the tune rows before it stops; 0 for never", Between(0, 10_000)] = 0
