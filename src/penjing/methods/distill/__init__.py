"""What a student learns of its teacher. A method has `Options` and

apply(teacher, functions, settings) -> loss     a loss (outputs, batch) -> RowLoss for the training loop

`functions` are those of the task that a method may use.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from penjing.core.contracts import Batch, RowLoss


class Functions(NamedTuple):
    """loss of the true targets; distributions (M, C) with the row (M,) of each; whether these depend on the other rows of a batch."""

    loss: Callable[[Any, Batch], RowLoss]
    logits: Callable[[Any, Batch], tuple[torch.Tensor, torch.Tensor]]
    interact: bool = False
