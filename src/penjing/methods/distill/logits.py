"""The student matches the teacher's softened probabilities, and the true labels a little.

Hinton, Vinyals, Dean 2015, "Distilling the knowledge in a neural network", section 2. Where the answers are numbers there is nothing
to soften: the student matches them by squared error (Ba, Caruana 2014, "Do deep nets really need to be deep?", section 2).
"""

from collections.abc import Callable
from typing import Any

from torch import nn

from penjing.core.contracts import Batch, RowLoss
from penjing.methods.distill import Functions
from penjing.methods.distill._soft import Soft, answering, softened

Options, WRITES = Soft, False


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Soft) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs against the teacher's on the same inputs."""
    answers = answering(functions)

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        num_classes = functions.logits(outputs, batch)[0].shape[-1]
        return softened(functions, settings, outputs, batch, answers(batch, num_classes))

    return loss
