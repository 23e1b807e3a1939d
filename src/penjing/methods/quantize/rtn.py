"""Weights of linear layers rounded to the nearest of 16 or 256 numbers, each group of inputs with its scale; nothing is calibrated."""

from typing import Any

from penjing.methods.quantize import Rewriting
from penjing.methods.quantize._weights import Options, facts_of, plan, put_rest

ENGINES, CALIBRATES = ("torch",), False


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Round and write every layer.

    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller.
    """
    layers = plan(rewriting.model, settings)
    put_rest(rewriting, layers)
    return facts_of(rewriting.model, layers, settings)
