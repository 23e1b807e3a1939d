"""Set single weights to zero, a study of what is superfluous: bytes and time stay, as these engines store and multiply zeros too.

magnitude   the smallest of each matrix go. Han, Pool, Tran, Dally 2015, "Learning both weights and connections for efficient neural
            networks", section 3
wanda       the smallest |weight| x length of its input go, row by row. Sun, Liu, Bair, Kolter 2024, "A simple and effective pruning
            approach for large language models", section 3
2:4         two of four neighbours go, as kernels of some GPUs want them. Mishra et al. 2021, "Accelerating sparse deep neural networks"

The zeros stay zeros while the rest recovers.

Letters   R rows of a weight (what it gives), K numbers that one of them reads
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from penjing.core.contracts import Anatomy
from penjing.core.errors import OptionError
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller

RECOVERS = LOOKS = True


@dataclass(frozen=True)
class Options:
    """How many stay, and which."""

    keep_share: Annotated[float, "share that stays of the weights that are not zero yet", Between(0.01, 1)] = 0.5
    importance: Annotated[Literal["magnitude", "wanda"], "what says how much a weight matters: its size, or its size times its input's"] = (
        "wanda"
    )
    pattern: Annotated[Literal["any", "2:4"], "which may go: any, or two of every four neighbours (--keep-share 0.5)"] = "any"

    def __post_init__(self) -> None:
        if self.pattern == "2:4" and self.keep_share != 0.5:
            raise OptionError(
                f"--pattern 2:4 leaves two of four weights, and --keep-share is {self.keep_share:g}",
                wanted="--keep-share 0.5 and one round",
                fix="leave --keep-share and --rounds out, or pass --pattern any",
            )


def fits(anatomy: Anatomy) -> bool:
    """Blocks, whose layers are looked for by their class."""
    return bool(anatomy.blocks)


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The same architecture with zeros in the linear, convolutional and recurrent layers of its blocks."""
    layers = {path: module for block in anatomy.blocks for path, module in model.get_submodule(block).named_modules(prefix=block)
              if isinstance(module, nn.Linear | Conv1D | nn.RNNBase | nn.modules.conv._ConvNd)}  # fmt: skip
    heard = _lengths(model, layers, shown) if settings.importance == "wanda" else {}
    weights, changed = Remaining(shown.weights), list[str]()
    for path, module in layers.items():
        for part in ("weight_ih_l0", "weight_hh_l0") if isinstance(module, nn.RNNBase) else ("weight",):
            if settings.pattern == "any" or _rows(module.get_parameter(part), module).shape[-1] % 4 == 0:
                name = f"{path}.{part}"
                weights.change(name, partial(_with_zeros, module, heard.get(name), settings))
                changed.append(name)
    return Smaller({}, weights, {}, share=settings.keep_share, zeros=tuple(changed))


def _with_zeros(module: nn.Module, heard: Tensor | None, settings: Options, weight: Tensor) -> Tensor:
    """A weight of a module whose smallest numbers are zero, each times the length of its input where that is known."""
    rows = _rows(weight, module).contiguous()
    score = rows.float().abs().flatten(1)  # (R, K)
    if heard is not None:
        score *= heard.expand(rows.shape[1:]).flatten()
    if settings.pattern == "any":
        score = score.view(1, -1) if heard is None else score
        count = (rows.view_as(score).count_nonzero(1) * settings.keep_share).round().clamp(min=1)
    else:
        score, count = score.view(-1, 4), torch.tensor([2])
    order = score.argsort(dim=1, descending=True, stable=True)
    among = torch.arange(order.shape[1], device=order.device) < count[:, None].to(order.device)
    kept = torch.zeros_like(score, dtype=torch.bool).scatter_(1, order, among.expand_as(order))
    return _back(rows * kept.view(rows.shape), module).contiguous()


def _lengths(model: nn.Module, layers: Mapping[str, nn.Module], shown: Shown) -> dict[str, Tensor]:
    """(inputs,) for each weight, by its name: how long a vector each number makes that is read, over all rows; of the whole model's."""
    squares: dict[str, Tensor] = {}

    def note(name: str, numbers: Tensor, dimension: int = -1) -> None:
        found = numbers.detach().float().movedim(dimension, -1).flatten(0, -2).square().sum(0)
        squares[name] = squares[name] + found if name in squares else found

    def listen(path: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(module, nn.RNNBase):
                note(f"{path}.weight_ih_l0", inputs[0].data)  # of packed rows the numbers
                note(f"{path}.weight_hh_l0", output[0].data)
            else:
                note(f"{path}.weight", inputs[0], 1 if isinstance(module, nn.modules.conv._ConvNd) else -1)

        return hook

    hooks = [module.register_forward_hook(listen(path)) for path, module in layers.items()]
    try:
        with torch.inference_mode():
            for batch in shown.batches:
                model(**batch.inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value.clone().sqrt() for name, value in squares.items()}


def _rows(weight: Tensor, module: nn.Module) -> Tensor:
    """A weight with what it gives in its first dimension and what it reads in its last; a convolution's kernel lies between."""
    return weight.T if isinstance(module, Conv1D) else weight.movedim(1, -1)


def _back(rows: Tensor, module: nn.Module) -> Tensor:
    """What `_rows` was made of."""
    return rows.T if isinstance(module, Conv1D) else rows.movedim(-1, 1)
