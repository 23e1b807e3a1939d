"""What a student learns of its teacher. A method has `Options` (with `soft_share`), and

WRITES                                                  whether the teacher writes answers first, which rows then have as their truth; its
                                                        Options say with how many `beams`
apply(teacher, student, functions, settings) -> loss    a loss (outputs, batch) -> RowLoss for the training loop

`functions` are those of the task and of the models that a method may use. A loss is asked right after the student was, on the same batch.
What is drawn comes from torch's generator, which the caller has seeded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from penjing.core.contracts import Batch, RowLoss


class Functions(NamedTuple):
    """What is known of the task and of the two models.

    ask         what the teacher gives for the inputs of a batch, without gradients, in the arithmetic of the training
    loss        of the true targets; 0 for rows whose targets do not hold
    logits      distributions (M, C) with the row (M,) of each
    interact    whether these depend on the other rows of a batch
    stacks      paths of the teacher's blocks, and of the student's: one stack of them, or those of an encoder and of a decoder
    attention   by these paths, of the teacher and of the student: paths of what makes queries, keys and values; empty where not known
    hooks       handles of what a method hangs on the models; they are taken off when the training has ended
    """

    ask: Callable[[dict[str, Any]], Any]
    loss: Callable[[Any, Batch], RowLoss]
    logits: Callable[[Any, Batch], tuple[torch.Tensor, torch.Tensor]]
    interact: bool
    stacks: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]
    attention: tuple[Mapping[str, Sequence[str]], Mapping[str, Sequence[str]]]
    hooks: list[Any]
