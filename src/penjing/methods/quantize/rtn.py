"""Weights of linear layers rounded to the nearest of 16 or 256 numbers, each group of inputs with its scale."""

from typing import Any

from penjing.methods.quantize import Rewriting
from penjing.methods.quantize._weights import Options, chosen, facts_of, put_rest

ENGINES, CALIBRATES = ("torch",), False


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Round and write every layer.

    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller.
    """
    layers = chosen(rewriting, settings)
    put_rest(rewriting, layers)
    return facts_of(rewriting.model, layers, settings)
