"""Training begins at what is known before any row is looked at: how often labels hold, the mean and the spread of numbers.

Labels: a fresh head of many labels gives each a half. Where most are rare the model first learns to say no to all, by all its weights, and
may not find back: MiniLM on 8,400 rows of GoEmotions stood at the loss of a constant (0.15) for three epochs, and is at 0.127 after 150
steps where each label's bias begins at the log odds of its share (2026-11-22).

Numbers: a fresh head puts out numbers near 0 with a spread near 1, and Adam moves each weight by about the learning rate whatever the
gradient: a model that shall say 30,000 would never get there. So while it learns, its last linear layer works on (number - mean) /
deviation of the training rows and what the model puts out is brought back; afterwards mean and deviation go into that layer for good, so
that plain transformers gives the number itself.

Source: for labels Lin, Goyal, Girshick, He, Dollár 2017, "Focal loss for dense object detection", section 3.3, where all have one prior.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from penjing.core.contracts import Batch, Example, RowLoss
from penjing.engine.load import Loaded
from penjing.engine.train import Loss


@contextmanager
def begun(loaded: Loaded, rows: Sequence[Example]) -> Iterator[Callable[[Loss], Loss]]:
    """A fresh head begins at the prior of labels; while the body runs, `loaded.model` learns standardised numbers.

    A fresh head is taken to put out standardised numbers already. Nothing changes without a last linear layer of as many outputs. Yields
    what brings a squared error into these units.
    """
    scale, last = loaded.task.scale(rows), _last(loaded.model, len(loaded.task.outputs))
    if loaded.fresh and last is not None and (prior := loaded.task.prior(rows)):
        last.bias.data.copy_(torch.tensor(prior))
    if scale is None or last is None:
        yield lambda loss: loss
        return
    mean, deviation = scale
    if not loaded.fresh:
        _rescale(loaded.model, 1 / deviation, -mean / deviation)

    def brought_back(model: nn.Module, given: Any, outputs: Any) -> Any:
        outputs.logits = outputs.logits.float() * deviation + mean  # bf16 holds 2,020 to the nearest 8
        return outputs

    hook = loaded.model.register_forward_hook(brought_back)
    try:
        yield lambda loss: _divided(loss, deviation**2)
    finally:
        hook.remove()
    _rescale(loaded.model, deviation, mean)


def _divided(loss: Loss, by: float) -> Loss:
    def smaller(outputs: Any, batch: Batch) -> RowLoss:
        plain = loss(outputs, batch)
        return RowLoss(plain.total / by, plain.count)

    return smaller


def _last(model: nn.Module, num_outputs: int = 1) -> nn.Linear | None:
    """The layer that puts out the logits."""
    linears = [module for module in model.modules() if isinstance(module, nn.Linear) and module.bias is not None]
    return linears[-1] if linears and linears[-1].out_features == num_outputs else None


@torch.no_grad()
def _rescale(model: nn.Module, factor: float, shift: float) -> None:
    """Make the model say factor x number + shift."""
    last = _last(model)
    assert last is not None  # it was there when the training began
    last.weight.mul_(factor)
    last.bias.mul_(factor).add_(shift)
