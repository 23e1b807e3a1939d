"""Weights of linear layers rounded to the nearest of 16 or 256 numbers, each group of inputs with its scale."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from penjing.core.errors import OptionError
from penjing.maths import few_bits
from penjing.methods.quantize import Rewriting, Rounding
from penjing.methods.quantize._weights import Layer, Options, chosen, dtype_of_table, facts_of, nearest, plan, put_rest

ENGINES, CALIBRATES = ("torch",), False


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Round and write every layer.

    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller.
    """
    layers = chosen(rewriting, settings)
    put_rest(rewriting, layers)
    return facts_of(rewriting.model, layers, settings)


def rounding(model: nn.Module, settings: Options, engine: str, dtype: torch.dtype) -> dict[str, Rounding]:
    """Linear layers as they are stored, and embeddings in the 16 bits that they get.

    Raises OptionError where bits depend on what is learnt, MissingExtra and ModelError as `rewrite`.
    """
    if settings.high_share:
        raise OptionError(
            "--high-share gives 8 bits to layers that rounding changes most, which is not known before they have learnt",
            wanted="0 with --epochs",
            fix="leave --high-share out, or --epochs",
        )

    def restored(layer: Layer, weight: Tensor) -> Tensor:
        return few_bits.restored(*nearest(weight, layer, dtype))

    def in_16_bits(table: torch.dtype, rows: Tensor) -> Tensor:
        return rows.to(table).float()

    found = {path: Rounding(partial(restored, layer)) for path, layer in plan(model, settings).items()}
    for path, module in model.named_modules():
        if type(module) is nn.Embedding:
            found[path] = Rounding(partial(in_16_bits, dtype_of_table(module.weight, dtype)))
    return found
