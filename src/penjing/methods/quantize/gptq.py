"""Weights of linear layers rounded one input after the other, so that later weights make up for the rounding of earlier ones.

Frantar, Ashkboos, Hoefler, Alistarh 2023, "GPTQ: accurate post-training quantization for generative pre-trained transformers", algorithm 1;
inputs in the order of how large they are (their "act-order"), with scales fixed before, so that the stored form is that of rtn. Each layer
sees the inputs that the layers before it, already rounded, give it.

Letters   N outputs, K inputs, M tokens, G inputs that share a scale
"""

from typing import Any

import torch
from torch import Tensor

from penjing.maths import few_bits
from penjing.methods.quantize import Rewriting
from penjing.methods.quantize._weights import Options, Stored, chosen, facts_of, put, put_rest, scales, weight_of

ENGINES, CALIBRATES = ("torch",), True
NOT_LEARNT = "chooses on rows how it rounds, once nothing learns any more"
DAMPING = 0.01  # of the mean of the Hessian's diagonal, added to it: the paper's, section 3.3
BLOCK = 128  # inputs after which the others are updated at once: the paper's


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Run the calibration rows through the model once, and write each layer when its inputs are known.

    Layers that no row reaches are rounded to the nearest; facts name them.
    Raises MissingExtra without compressed-tensors, ModelError without a layer that it would make smaller.
    """
    layers, reached = chosen(rewriting, settings), set[str]()

    def visit(path: str, weight: Tensor, inputs: Tensor) -> Tensor:
        reached.add(path)
        if not rewriting.written(path):
            scale = scales(weight, layers[path], rewriting.dtype)
            stored = quantized(weight, inputs.T @ inputs, scale, layers[path].bits)
            put(rewriting, path, layers[path], stored)
        return weight_of(rewriting.written(path), layers[path])

    rewriting.run(visit, layers)
    put_rest(rewriting, layers)
    return {**facts_of(rewriting.model, layers, settings), "not_reached": [path for path in layers if path not in reached]}


def quantized(weight: Tensor, hessian: Tensor, scale: Tensor, bits: int, block: int = BLOCK) -> Stored:
    """A weight (N, K) for inputs X (M, K), of which `hessian` is X'X (K, K); scales (N, K / G).

    The squared error of the layer's outputs on X is brought down greedily, one input after the other.
    """
    order = hessian.diagonal().argsort(descending=True, stable=True)
    factor = inverse_factor(hessian[order][:, order])
    left, whole = weight[:, order].clone(), torch.empty(weight.shape, dtype=torch.int8)
    column_scale = scale.repeat_interleave(weight.shape[1] // scale.shape[1], 1)[:, order]
    for start in range(0, len(order), block):
        end = min(start + block, len(order))
        errors = torch.empty(len(weight), end - start)
        for i in range(start, end):
            column, step = left[:, i : i + 1], column_scale[:, i : i + 1]
            whole[:, i : i + 1] = few_bits.rounded(column, step, bits)
            errors[:, i - start : i - start + 1] = (column - whole[:, i : i + 1] * step) / factor[i, i]
            left[:, i + 1 : end] -= errors[:, i - start : i - start + 1] * factor[i, i + 1 : end]
        left[:, end:] -= errors @ factor[start:end, end:]
    return Stored(whole[:, order.argsort()], scale)


def inverse_factor(hessian: Tensor) -> Tensor:
    """U (K, K), upper triangular, U'U the inverse of the damped Hessian; an input that is always 0 counts as damping alone."""
    damped = hessian.to(torch.float64, copy=True)
    mean = damped.diagonal().mean().clamp(min=1e-12)
    damped.diagonal().add_(DAMPING * mean)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
