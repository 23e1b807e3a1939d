"""Weights as small whole numbers with a scale for each group of inputs, packed into words of 32 bits.

The layout is "pack-quantized" of the library compressed-tensors, which transformers and vLLM read.

Letters   N outputs and K inputs of a linear layer, G inputs that share a scale
"""

import torch
from torch import Tensor

TINY = 1e-20  # least scale: a group of zeros stays one


def scales(weight: Tensor, bits: int, group: int) -> Tensor:
    """(N, K / G) of a weight (N, K): the largest of a group lies half a step beyond the largest number of these bits."""
    largest = weight.unflatten(1, (-1, group)).abs().amax(-1)
    return (largest / (2 ** (bits - 1) - 0.5)).clamp(min=TINY)


def rounded(weight: Tensor, scale: Tensor, bits: int) -> Tensor:
    """The nearest whole numbers (N, K) int8, from -2^(bits - 1) to 2^(bits - 1) - 1."""
    steps = weight.unflatten(1, (scale.shape[1], -1)) / scale[..., None]
    return steps.round_().clamp_(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8).flatten(1)


def restored(whole: Tensor, scale: Tensor) -> Tensor:
    """The weights (N, K) that whole numbers (N, K) stand for, in the dtype of `scale` (N, K / G)."""
    return whole.unflatten(1, (scale.shape[1], -1)).to(scale.dtype).mul_(scale[..., None]).flatten(1)


def packed(whole: Tensor, bits: int) -> Tensor:
    """Whole numbers (N, K) of 4 or 8 bits in words (N, ceil(K bits / 32)) int32, the first number in the lowest bits."""
    per_word = 32 // bits
    numbers = (whole.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    numbers = torch.nn.functional.pad(numbers, (0, -whole.shape[1] % per_word))
    if bits == 4:
        numbers = numbers[:, ::2] | numbers[:, 1::2] << 4
    return numbers.contiguous().view(torch.int32)


def unpacked(words: Tensor, bits: int, inputs: int) -> Tensor:
    """The inverse of `packed`: (N, K) int8 for `inputs` = K."""
    numbers = words.view(torch.uint8)
    if bits == 4:
        numbers = torch.stack([numbers & 15, numbers >> 4], -1).flatten(1)
        return numbers[:, :inputs].view(torch.int8) - 8
    return (numbers[:, :inputs] ^ 128).view(torch.int8)
