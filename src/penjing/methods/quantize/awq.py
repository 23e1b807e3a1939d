"""Weights rounded to the nearest after those on large inputs were made larger, and the norm that gives these inputs smaller by as much.

Lin et al. 2024, "AWQ: activation-aware weight quantization for on-device LLM compression and acceleration", section 3.2: scales
s = (mean |x|)^a, with the a of a grid that brings the error of the outputs down most. Scaled are layers that alone read what a norm gives,
so that nothing but the norm's weights changes; other layers are rounded as they are. The paper also scales layers that read a linear layer.

Letters   N outputs, K inputs, M tokens
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from penjing.core.errors import ModelError
from penjing.maths import few_bits
from penjing.methods.quantize import Rewriting
from penjing.methods.quantize._weights import MOST_TOKENS, Layer, Options, chosen, facts_of, nearest, put, put_rest, weight_of

ENGINES, CALIBRATES = ("torch",), True
NOT_LEARNT = "chooses on rows how it rounds, once nothing learns any more"
GRID = 20  # values of a that are tried: the paper's


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Run the calibration rows through the model once, and write each layer when its inputs are known.

    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller, or a norm before it.
    """
    layers = chosen(rewriting, settings)
    readers = rewriting.readers(layers)
    if not readers:
        raise ModelError(
            f"{type(rewriting.model).__name__} has no norm that only linear layers read",
            wanted="a model whose blocks begin with their norms, as Llama's do; those of BERT end with them",
            fix="penjing quantize --method gptq",
        )
    norms = {path: norm for norm, paths in readers.items() for path in paths}
    factors, powers = dict[str, Tensor](), dict[str, float]()

    def visit(path: str, weight: Tensor, inputs: Tensor) -> Tensor:
        norm = norms.get(path)
        if norm and norm not in factors:
            read_by = [(layers[each], rewriting.take(each)["weight"].float()) for each in readers[norm]]
            powers[norm], factors[norm] = factor(read_by, inputs, rewriting.dtype)
            if not rewriting.written(norm):
                rewriting.put(norm, {own: (value / factors[norm]).to(rewriting.dtype) for own, value in rewriting.take(norm).items()})
        scaled = factors[norm] if norm else torch.ones(weight.shape[1])
        if not rewriting.written(path):
            put(rewriting, path, layers[path], nearest(weight * scaled, layers[path], rewriting.dtype))
        return weight_of(rewriting.written(path), layers[path]) / scaled

    rewriting.run(visit, layers)
    put_rest(rewriting, layers)
    return {**facts_of(rewriting.model, layers, settings), "scaled_layers": len(norms), "powers": powers}


def factor(layers: Sequence[tuple[Layer, Tensor]], inputs: Tensor, dtype: torch.dtype) -> tuple[float, Tensor]:
    """The power a, and the factors (K,) by which columns of the weights (N, K) of these layers grow, for inputs (M, K) that they share.

    Their outputs are then nearest to those of the whole weights; a = 0 leaves all as it is.
    """
    few = inputs[:: -(-len(inputs) // MOST_TOKENS)]
    sizes = inputs.abs().mean(0)
    sizes = sizes.clamp(min=max(1e-4 * sizes.max().item(), few_bits.TINY))
    wanted, found = [few @ weight.T for _, weight in layers], list[tuple[float, float, Tensor]]()
    for step in range(GRID + 1):
        factors = sizes ** (step / GRID)
        factors = factors / (factors.max() * factors.min()).sqrt()
        error = 0.0
        for (layer, weight), true in zip(layers, wanted):
            rounded = few_bits.restored(*nearest(weight * factors, layer, dtype))
            error += ((few / factors) @ rounded.T - true).square().sum().item()
        found.append((error, step / GRID, factors))
    _, power, factors = min(found, key=lambda each: each[0])
    return power, factors
