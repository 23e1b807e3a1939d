"""Masks of dropout, and attention, that cost little on a processor.

torch draws a mask number by number on one thread: a fifth of a step of a small transformer. Here 16 random bits decide over each number,
and attention with dropout stays in the dtype of its inputs. Masks follow from a key alone, so no random state needs to be kept. torch's
fused attention takes three times as long as its parts where rows are short, with its gradient.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_BITS = 16  # by which a number is kept or dropped: probabilities are exact to 1/65536
SHORT = 256  # keys at which attention in parts takes about as long as torch's fused kernel; with fewer it is faster


class CheapMasks(TorchFunctionMode):
    """While it is entered, dropout on the processor draws its masks here; what runs on a GPU is left to torch.

    key     from which all masks follow: the seed, the number of the step, the part of the batch
    """

    def __init__(self, key: Sequence[int]):
        super().__init__()
        self._draw = numpy.random.Generator(numpy.random.SFC64(list(key)))
        self._instead: dict[Any, Callable[..., Any]] = {F.dropout: self._dropout, F.scaled_dot_product_attention: self._attention}

    def again(self) -> "CheapMasks":
        """What draws the masks that this would draw from here on."""
        return copy.deepcopy(self)

    def __torch_function__(self, function: Any, types: Any, args: Sequence[Any] = (), keywords: dict[str, Any] | None = None) -> Any:
        """Each call of a function of torch comes through here."""
        return self._instead.get(function, function)(*args, **(keywords or {}))

    def _dropout(self, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if input.device.type != "cpu":
            return F.dropout(input, p, training, inplace)
        if not training or p == 0:
            return input
        return _Masked.apply(input, self._mask(input, p))  # type: ignore[no-any-return]

    def _attention(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, is_causal: bool = False,
        scale: float | None = None, enable_gqa: bool = False,
    ) -> Tensor:  # fmt: skip
        """query (..., T, D), key and value (..., S, D) -> (..., T, D)."""
        fused = dropout_p == 0 and key.shape[-2] > SHORT
        if fused or enable_gqa or query.device.type != "cpu":
            return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
        scores = (query * (scale or 1 / math.sqrt(query.shape[-1]))) @ key.transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None:
            lowest = torch.finfo(scores.dtype).min  # not -inf: a row that sees nothing, padding on the left, must not become not-a-number
            scores = scores.masked_fill(~attn_mask, lowest) if attn_mask.dtype == torch.bool else scores + attn_mask.to(scores.dtype)
        return self._dropout(scores.softmax(-1), dropout_p) @ value

    def _mask(self, like: Tensor, p: float) -> Tensor:
        """0 where a number is dropped, else what keeps the mean: 1 / (1 - p)."""
        words = self._draw.integers(0, 1 << 64, -(-like.numel() * _BITS // 64), dtype=numpy.uint64)
        bits = torch.from_numpy(words.view(numpy.int16))[: like.numel()].view(like.shape)
        kept = torch.empty(like.shape, dtype=like.dtype)  # a comparison into it costs a fifth of one into bool that is converted
        return torch.ge(bits, round(p * (1 << _BITS)) - (1 << _BITS - 1), out=kept).mul_(1 / (1 - p))


class _Masked(torch.autograd.Function):
    """A product with a mask that has no gradient and is not changed."""

    @staticmethod
    def forward(context: Any, input: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        context.save_for_backward(mask)
        return input * mask

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (mask,) = context.saved_tensors
        return gradient * mask, None
