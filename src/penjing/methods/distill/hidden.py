"""The student's blocks give what the teacher's give at the same height, beside its softened answers.

Jiao et al. 2020, "TinyBERT", section 3.1, hidden states, in one training with the answers; each state is taken without its mean and size,
as Sun et al. 2019, "Patient knowledge distillation", section 3.2, take them. Where the student is of another width its states first go
through a matrix that is learnt with it and left out in the end (Romero et al. 2015, "FitNets", section 2.2, and TinyBERT).

A weight of 3 rather than 1 took the divergence of a MiniLM of 4 blocks from its parent from 0.042 to 0.038 (SST-2, tune rows, 16 epochs).

Letters   N entries of a batch, T tokens, D width of a state
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import ModelError
from penjing.core.options import Between
from penjing.maths.losses import beside
from penjing.methods.distill import Functions
from penjing.methods.distill._parts import Attached, heard, require_aligned, there
from penjing.methods.distill._soft import Soft, softened

WRITES = False


@dataclass(frozen=True)
class Options(Soft):
    """Of the softened cross-entropy and of the states."""

    hidden_weight: Annotated[float, "weight of the distance of the states", Between(0, 1000)] = 3.0


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs and states against the teacher's on the same inputs, which is asked in every epoch.

    Raises ModelError for models without blocks of states, or of which one has an encoder and a decoder and the other one stack.
    """
    theirs, own = functions.stacks
    wide, narrow = (getattr(getattr(model, "config", None), "hidden_size", None) for model in (teacher, student))
    if not all(own) or not all(theirs) or len(own) != len(theirs) or not wide or not narrow:
        raise ModelError(
            f"the states of this student and its teacher cannot be compared: {_built(own, narrow)} beside {_built(theirs, wide)}",
            wanted="--layers and --ffn, or a student that is built of blocks as its teacher is",
            fix="choose --method logits",
        )
    pairs = [  # (student's block, teacher's, whether the mask of what is read is of its tokens): the last stands beside the last
        (path, high[round((i + 1) * len(high) / len(low)) - 1], number == 0)
        for number, (low, high) in enumerate(zip(own, theirs))
        for i, path in enumerate(low)
    ]
    through: dict[str, nn.Module] = {}
    if narrow != wide:
        to_teacher = Attached(student, "to_teacher", [nn.Linear(narrow, wide, bias=False) for _ in pairs])
        functions.hooks.append(to_teacher)
        through = dict(zip((path for path, _, _ in pairs), to_teacher.modules))
    mine, taught_by = heard(student, [a for a, _, _ in pairs], functions, through), heard(teacher, [b for _, b, _ in pairs], functions)

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        taught, _ = functions.logits(functions.ask(batch.inputs), batch)
        found = softened(functions, settings, outputs, batch, taught.clone())
        distances = [_apart(mine.pop(a), taught_by[b].clone(), batch if masked else None) for a, b, masked in pairs]
        return beside(torch.stack(distances).mean(0), batch.rows, found, settings.hidden_weight)

    return loss


def _built(stacks: Sequence[Sequence[str]], width: int | None) -> str:
    return f"{' and '.join(str(len(stack)) for stack in stacks) or 'no'} blocks, {width or 'no one number'} wide"


def _apart(student: Tensor, teacher: Tensor, batch: Batch | None) -> Tensor:
    """(N,) mean squared distance of the states (N, T, D) of the tokens that are there; of a last block maybe of the first token alone."""
    require_aligned(student, teacher)
    a, b = (nn.functional.layer_norm(each.float(), each.shape[-1:]) for each in (student, teacher[:, : student.shape[1]]))
    real = there(batch, a) if batch else a.new_ones(a.shape[:2])
    return ((a - b).square().mean(-1) * real).sum(1) / real.sum(1).clamp(min=1)
