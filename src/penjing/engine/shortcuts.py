"""What is computed otherwise than the model's code says, with the same result: in a training, and where a model writes.

A classifier on BERT reads the first position alone; behind the attention of the last block, which sees all, the others are work for
nothing: a ninth of a model of six blocks. Whether a model is built so is not told by its name: not-a-number in the others must not reach
its outputs.

A language model's head gives some thousand numbers for each token of a text; of those that are asked about one in seven is masked, so in a
step the head is given these alone.

GELU with tanh is written as seven operations in transformers, of which each keeps what it was given for the way back; torch has it as one.
"""

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import FastGELUActivation, NewGELUActivation


@contextmanager
def shortcuts(model: nn.Module, blocks: tuple[str, ...], outputs: Callable[[], Any]) -> Iterator[None]:
    """While the body runs `model` takes them.

    blocks    paths of its blocks
    outputs   () -> what it gives for a row
    """
    part = _last_to_mix(model.get_submodule(blocks[-1]), outputs) if blocks else None
    with part.register_forward_hook(_first) if part else nullcontext(), fused_activations(model):
        yield


@contextmanager
def fused_activations(model: nn.Module) -> Iterator[None]:
    """While the body runs its GELUs are one operation each; those that are already stay so."""
    found = (module for module in model.modules() if isinstance(module, (NewGELUActivation, FastGELUActivation)))
    activations = [module for module in found if "forward" not in vars(module)]
    for module in activations:
        module.forward = functools.partial(F.gelu, approximate="tanh")  # type: ignore[method-assign]
    try:
        yield
    finally:
        for module in activations:
            del module.forward


@contextmanager
def only_told(model: nn.Module, head: tuple[str, ...], told: Tensor | None) -> Iterator[None]:
    """While the body runs the head gives outputs (M, C) of the M positions that are asked about, row by row, in the place of (N, T, C).

    head    paths of what stands above the body, in their order
    told    (N, T) bool; None for all
    """

    def chosen(module: nn.Module, inputs: Any) -> Any:
        return (inputs[0][told], *inputs[1:])

    hook = model.get_submodule(head[0]).register_forward_pre_hook(chosen) if head and told is not None else None
    try:
        yield
    finally:
        if hook:
            hook.remove()


def _last_to_mix(block: nn.Module, outputs: Callable[[], Any]) -> nn.Module | None:
    """The earliest part of the block behind which only the first position matters, and the block can do without the others."""
    for part in block.children():
        try:
            with part.register_forward_hook(_poisoned):
                found = outputs().to_tuple()
        except TypeError:  # it hands on something else than hidden states
            continue
        if all(isinstance(each, Tensor) and bool(torch.isfinite(each).all()) for each in found) and _goes_on(block, part, outputs):
            return part
    return None


def _goes_on(block: nn.Module, part: nn.Module, outputs: Callable[[], Any]) -> bool:
    seen: list[int] = []
    with part.register_forward_hook(_first), block.register_forward_hook(lambda _, __, output: seen.append(_hidden(output).shape[1])):
        try:
            outputs()
        except (RuntimeError, ValueError, IndexError):  # it wants as many positions as it was given
            return False
    return seen == [1]


def _hidden(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def _first(module: nn.Module, inputs: Any, output: Any) -> Any:
    """(B, T, D) -> (B, 1, D), alone or the first of several."""
    return (output[0][:, :1], *output[1:]) if isinstance(output, tuple) else output[:, :1]


def _poisoned(module: nn.Module, inputs: Any, output: Any) -> Any:
    """(B, T, D), alone or the first of several, with numbers in the first position of several alone; of another shape without any."""
    if not isinstance(_hidden(output), Tensor):
        raise TypeError("no hidden states")
    hidden = _hidden(output).clone()
    hidden[:, 1 if hidden.ndim == 3 and hidden.shape[1] > 1 else 0 :] = math.nan
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden
