"""How a model is trained: the options that finetune, distill and the recovery after prune share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from penjing.core.errors import need
from penjing.core.options import Between, Duration

BATCH_ROWS, BATCH_TOKENS = 32, 4096


@dataclass(frozen=True)
class Training:
    """Options of the loop in engine/train.py; every stage that trains takes them."""

    epochs: Annotated[float, "passes over the training rows", Between(0, 10_000)] = 3.0
    learning_rate: Annotated[float, "highest learning rate", Between(0, 10)] = 5e-5
    batch_rows: Annotated[
        int | None,
        "most rows in a batch; usually 32, and with --batch-tokens auto a fiftieth of the rows where that is more",
        Between(1, 1_000_000),
    ] = None
    batch_tokens: Annotated[
        int | Literal["auto"],
        "most tokens in a batch of texts, padding included; auto: as many as memory has room for, measured before the training begins, "
        "as long as --batch-rows allows them",
        Between(1, 100_000_000),
    ] = BATCH_TOKENS
    ranks: Annotated[int, "processes of this machine that train together; torchrun starts them on many", Between(1, 10_000)] = 1
    sharded: Annotated[bool, "leave each rank a part of every weight, for models too large for one: less memory, more talk"] = False
    parts: Annotated[int, "in how many parts a batch is computed: less memory, the same result", Between(1, 1_000_000)] = 1
    gradient_checkpointing: Annotated[
        bool, "compute each block again in the backward pass rather than keep what it gave: less memory, the same result, 30 to 50 % slower"
    ] = False
    compile: Annotated[
        Literal["auto", "on", "off"], "let torch compile the blocks; auto does where there is a GPU and the training is long enough to gain"
    ] = "auto"
    optimizer: Annotated[
        Literal["adamw", "sgd", "muon"], "what moves the weights; muon is for the matrices of the blocks, adamw for the rest"
    ] = "adamw"
    momentum: Annotated[float | None, "momentum of sgd (usually 0.9) and of muon (usually 0.95)", Between(0, 0.9999)] = None
    nesterov: Annotated[bool, "look ahead along the momentum"] = True
    schedule: Annotated[
        Literal["constant", "linear", "cosine", "wsd"], "how the learning rate falls; wsd stays high and falls over the last fifth"
    ] = "linear"
    warmup_share: Annotated[float, "share of the steps in which the learning rate rises", Between(0, 1)] = 0.06
    weight_decay: Annotated[float, "pull of the weights towards zero; none on norms and biases", Between(0, 10)] = 0.01
    l1: Annotated[float, "pull of the weights to zero that leaves many there; none on norms and biases", Between(0, 10)] = 0.0
    average: Annotated[
        float, "decay of a moving average of the weights, which is what is measured and kept; 0 for none", Between(0, 0.99999)
    ] = 0.0
    dropout: Annotated[float | None, "share that every dropout of the model drops; its own where not given", Between(0, 0.99)] = None
    clip: Annotated[float, "largest norm of a step's gradient; 0 for none", Between(0, 1e9)] = 1.0
    precision: Annotated[
        Literal["auto", "bf16", "fp16", "tf32", "fp32"], "arithmetic of the forward pass; auto is what the hardware is made for"
    ] = "auto"
    patience: Annotated[int, "epochs without a better measure on the tune rows before it stops; 0 for never", Between(0, 10_000)] = 0
    checkpoint_every: Annotated[
        Duration | None,
        "time between checkpoints, from which the same command goes on; 0 for none; usually 30s, or more where saving takes long",
    ] = None
    tensorboard: Annotated[
        Literal["scalars", "histograms"] | None,
        "also keep what TensorBoard draws, in the folder tensorboard of the output (tensorboard --logdir DIRECTORY shows it): "
        "curves and some answers; or also histograms of weights and gradients",
    ] = None
    augment: Annotated[list[str] | None, "changes of the training rows, drawn anew in every epoch: crop,flip (penjing methods)"] = None
    augment_strength: Annotated[float, "how strong they are; 0 changes nothing", Between(0, 1)] = 0.5

    def __post_init__(self) -> None:
        if self.tensorboard:
            need("tensorboard", "tensorboard")  # said before rows are read

    @property
    def usual_batch(self) -> tuple[int, int]:
        """Most rows and tokens of a batch where nothing has been measured."""
        return self.batch_rows or BATCH_ROWS, BATCH_TOKENS if self.batch_tokens == "auto" else self.batch_tokens
