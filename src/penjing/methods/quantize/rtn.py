"""Weights of linear layers rounded to the nearest of 16 or 256 numbers, each group of inputs with its scale; nothing is calibrated."""

from typing import Any

from penjing.methods.quantize import Rewriting, _weights

ENGINES, CALIBRATES = ("torch",), False
Options = _weights.Options


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Round and write every layer.

    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller.
    """
    layers = _weights.plan(rewriting.model, settings)
    _weights.put_rest(rewriting, layers)
    return _weights.facts(rewriting.model, layers, settings)
