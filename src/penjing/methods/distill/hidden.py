"""The student's blocks give what the teacher's give at the same height, beside its softened answers.

Jiao et al. 2020, "TinyBERT", section 3.1, hidden states, in one training with the answers; each state is taken without its mean and size,
as Sun et al. 2019, "Patient knowledge distillation", section 3.2, take them.

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
from penjing.methods.distill._soft import Soft, softened


@dataclass(frozen=True)
class Options(Soft):
    """Of the softened cross-entropy and of the states."""

    hidden_weight: Annotated[float, "weight of the distance of the states", Between(0, 1000)] = 1.0


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs and states against the teacher's on the same inputs, which is asked in every epoch.

    Raises ModelError for models without blocks, and for a student whose states are of another width.
    """
    theirs, own = functions.stacks
    widths = [getattr(getattr(model, "config", None), "hidden_size", None) for model in (teacher, student)]
    if not all(own) or not all(theirs) or len(own) != len(theirs) or widths[0] is None or widths[0] != widths[1]:
        raise ModelError(
            f"the states of this student and its teacher cannot be compared: {_built(own, widths[1])} beside {_built(theirs, widths[0])}",
            wanted="--layers and --ffn, or a student built as its teacher and as wide",
            fix="choose --method logits",
        )
    pairs = [  # (student's block, teacher's, whether the mask of what is read is of its tokens): the last stands beside the last
        (path, high[round((i + 1) * len(high) / len(low)) - 1], number == 0)
        for number, (low, high) in enumerate(zip(own, theirs))
        for i, path in enumerate(low)
    ]
    mine, heard = _listen(student, [a for a, _, _ in pairs], functions), _listen(teacher, [b for _, b, _ in pairs], functions)

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        with torch.inference_mode():
            taught, _ = functions.logits(teacher.eval()(**batch.inputs), batch)
        found = softened(functions, settings, outputs, batch, taught.clone())
        mask = batch.inputs.get("attention_mask")
        distances = [_apart(mine.pop(a), heard[b].clone(), mask if masked else None) for a, b, masked in pairs]
        return beside(torch.stack(distances).mean(0), batch.rows, found, settings.hidden_weight)

    return loss


def _built(stacks: Sequence[Sequence[str]], width: int | None) -> str:
    return f"{' and '.join(str(len(stack)) for stack in stacks)} blocks, {width or 'no one number'} wide"


def _listen(model: nn.Module, blocks: Sequence[str], functions: Functions) -> dict[str, Tensor]:
    """What the blocks of a model gave when it was last asked, by their paths."""
    states: dict[str, Tensor] = {}

    def keep(path: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any, output: Any) -> None:
            states[path] = output[0] if isinstance(output, tuple) else output

        return hook

    functions.hooks.extend(model.get_submodule(path).register_forward_hook(keep(path)) for path in dict.fromkeys(blocks))
    return states


def _apart(student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """(N,) mean squared distance of the states (N, T, D) of the tokens that are there; of a last block maybe of the first token alone."""
    a, b = (nn.functional.layer_norm(each.float(), each.shape[-1:]) for each in (student, teacher[:, : student.shape[1]]))
    each = (a - b).square().mean(-1)  # (N, T)
    there = torch.ones_like(each) if mask is None else mask[:, : each.shape[1]].to(each)
    return (each * there).sum(1) / there.sum(1).clamp(min=1)
