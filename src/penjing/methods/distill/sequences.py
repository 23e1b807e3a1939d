"""The teacher writes an answer to each training row, and the student learns these as the truth: one way to say it, and no other.

Kim, Rush 2016, "Sequence-level knowledge distillation", section 3.2, with the likeliest answer that the teacher finds. `--soft-share` adds
the distributions it gave its tokens (their word level, section 3.1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from torch import nn

from penjing.core.contracts import Batch, RowLoss
from penjing.core.options import Between
from penjing.methods.distill import Functions
from penjing.methods.distill._soft import Soft, answering, softened

WRITES = True


@dataclass(frozen=True)
class Options(Soft):
    """How the teacher writes, and of the softened cross-entropy."""

    soft_share: Annotated[float, "weight of the distributions of the answers' tokens, the rest is the answers'", Between(0, 1)] = 0.0
    beams: Annotated[
        int | None, "how many answers the teacher follows side by side to find a likelier one; where not given, its own setting",
        Between(1, 1000),
    ] = None  # fmt: skip


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs against the answers that were written."""
    if not settings.soft_share:
        return functions.loss
    answers = answering(functions)

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        num_classes = functions.logits(outputs, batch)[0].shape[-1]
        return softened(functions, settings, outputs, batch, answers(batch, num_classes))

    return loss
