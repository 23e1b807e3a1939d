"""A model that calculates with rounded numbers while it learns, so that it learns to answer with what rounding leaves of its weights.

Its parameters stay whole and keep their names. A layer rounds what it multiplies each time that it is called, and the gradient passes as if
it had not: a rounded number has the slope 0 everywhere, from which nothing could be learnt.

Source: Bengio, Léonard, Courville 2013, "Estimating or propagating gradients through stochastic neurons", section 4 (straight-through);
Jacob et al. 2018, "Quantization and training of neural networks for efficient integer-arithmetic-only inference", section 3. They fix the
ranges of activations by a moving average; here a method says how they are found.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from penjing.methods.quantize import Rounding


@contextmanager
def rounded(model: nn.Module, roundings: Mapping[str, Rounding]) -> Iterator[None]:
    """While the body runs the modules at these paths calculate so, in a copy of `model` too."""
    modules = {path: model.get_submodule(path) for path in roundings}
    kinds = {path: type(module) for path, module in modules.items()}
    try:
        for path, module in modules.items():
            module.__class__, module.rounding = _ROUNDED[kinds[path]], roundings[path]  # type: ignore[assignment]
        yield
    finally:
        for path, module in modules.items():
            module.__class__ = kinds[path]
            module.__dict__.pop("rounding", None)


def straight_through(value: Tensor, rounding: Callable[[Tensor], Tensor] | None) -> Tensor:
    """What `rounding` makes of a value in fp32, in the dtype of the value, whose gradient is that of the result; as it is where None."""
    return value if rounding is None else _StraightThrough.apply(value, rounding)  # type: ignore[no-any-return]


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, value: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:  # type: ignore[override]
        return rounding(value.float()).to(value.dtype)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient, None


class _Layer(nn.Module):
    """A layer with `rounding`; it is no attribute of the class, so that the layer is what it was once that is taken away."""

    rounding: Rounding

    def _both(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """What is multiplied: input and weight."""
        return straight_through(input, self.rounding.input), straight_through(self.weight, self.rounding.weight)  # type: ignore[arg-type]


class _Linear(_Layer, nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(*self._both(input), self.bias)


class _Conv1D(_Layer, Conv1D):
    def forward(self, x: Tensor) -> Tensor:
        input, weight = self._both(x)
        return F.linear(input, weight.T, self.bias)


class _Convolution1d(_Layer, nn.Conv1d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self._both(input), self.bias)


class _Convolution2d(_Layer, nn.Conv2d):
    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(*self._both(input), self.bias)


class _Embedding(_Layer, nn.Embedding):
    """The rows that were read are rounded, rather than the table: the gradient stays one of these rows."""

    def forward(self, input: Tensor) -> Tensor:
        return straight_through(super().forward(input), self.rounding.weight)


_ROUNDED: dict[type[nn.Module], type[_Layer]] = {
    nn.Linear: _Linear,
    Conv1D: _Conv1D,
    nn.Conv1d: _Convolution1d,
    nn.Conv2d: _Convolution2d,
    nn.Embedding: _Embedding,
}
