"""Tokens stand to each other in the student's last block as they do in a block of the teacher, beside its softened answers.

Wang, Bao, Huang, Dong, Wei 2021, "MiniLMv2: multi-head self-attention relation distillation for compressing pretrained Transformers",
section 3: relations of queries with queries, keys with keys, values with values, their heads cut anew, so that width, depth and heads of
the two may differ. `--relations qk,vv` is what MiniLM learns (Wang et al. 2020, section 3): the attention itself, here with heads cut anew
too, and the relations of values. Of an encoder and a decoder it is the encoder's tokens.

Letters   N entries of a batch, T tokens, D width of queries, keys or values, R relation heads
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from penjing.core.contracts import IMPOSSIBLE, Batch, RowLoss
from penjing.core.errors import ModelError, OptionError
from penjing.core.options import Between
from penjing.maths.losses import beside, kl
from penjing.methods.distill import Functions
from penjing.methods.distill._parts import heard, require_aligned, there
from penjing.methods.distill._soft import Soft, softened

Pair = tuple[Tensor, Tensor]
USUAL = ("qq", "kk", "vv")
FINEST = 16  # numbers of a teacher's relation head: with 48 of 768 numbers they found the best student, section 4.4


WRITES = False


@dataclass(frozen=True)
class Options(Soft):
    """Of the softened cross-entropy and of the relations."""

    relation_weight: Annotated[float, "weight of the sum of the relations' divergences", Between(0, 1000)] = 1.0
    relations: Annotated[
        list[Literal["qq", "kk", "vv", "qk"]] | None,
        "which: of queries (q), keys (k) and values (v) with each other; qk is the attention itself; usually qq,kk,vv",
    ] = None
    relation_heads: Annotated[
        int | None, "how many heads they are cut into; usually as many as leave the teacher's 16 numbers or more", Between(1, 4096)
    ] = None
    teacher_block: Annotated[int | None, "which block of the teacher teaches, from 1; usually the last", Between(1, 1000)] = None


def apply(teacher: nn.Module, student: nn.Module, functions: Functions, settings: Options) -> Callable[[Any, Batch], RowLoss]:
    """Loss of a student's outputs and relations against the teacher's on the same inputs, which is asked in every epoch.

    Raises ModelError for models without attention that is known; OptionError for a block, or a number of heads, that there is not.
    """
    if not all(stacks and attention for stacks, attention in zip(functions.stacks, functions.attention)):
        raise ModelError(
            "the relations of this student's tokens cannot be compared with its teacher's: attention with queries, keys and values apart "
            "was not found in both",
            wanted="a student and a teacher that are Transformers",
            fix="choose --method logits",
        )
    theirs, own = (stacks[0] for stacks in functions.stacks)
    if (number := settings.teacher_block or len(theirs)) > len(theirs):
        raise OptionError(f"--teacher-block cannot be {number}: the teacher has {len(theirs)}", wanted=f"1 to {len(theirs)}")
    teaching, learning = (dict(zip("qkv", found[block])) for found, block in zip(functions.attention, (theirs[number - 1], own[-1])))
    chosen = [(pair[0], pair[1]) for pair in dict.fromkeys(settings.relations or USUAL)]
    heads = _heads(_widths(teacher, teaching), _widths(student, learning), chosen, settings.relation_heads)
    others, mine = heard(teacher, teaching.values(), functions), heard(student, learning.values(), functions)

    def loss(outputs: Any, batch: Batch) -> RowLoss:
        taught, _ = functions.logits(functions.ask(batch.inputs), batch)
        found = softened(functions, settings, outputs, batch, taught.clone())
        a, b = ({part: states[path[part]].float().clone() for part in "qkv"} for states, path in ((mine, learning), (others, teaching)))
        real = there(batch, a["q"])
        apart = [divergence((a[x], a[y]), (b[x], b[y]), real, heads) for x, y in chosen]
        mine.clear()
        return beside(torch.stack(apart).sum(0), batch.rows, found, settings.relation_weight)

    return loss


def divergence(student: Pair, teacher: Pair, real: Tensor, heads: int) -> Tensor:
    """(N,) KL(teacher || student) of the relations of each real token with all real ones, its mean over heads and tokens, in nats.

    student, teacher   pairs of (N, T, D), the D of each its own; a multiple of `heads`
    real               (N, T) 1 for tokens, 0 for padding

    Source: MiniLMv2, equations 5 to 7
    """
    require_aligned(student[0], teacher[0])
    mine, taught = (_scores(a, b, real, heads).flatten(0, 2) for a, b in (student, teacher))
    each = kl(mine, taught).view(len(real), heads, -1).mean(1)  # (N, T)
    return (each * real).sum(1) / real.sum(1).clamp(min=1)


def _scores(a: Tensor, b: Tensor, real: Tensor, heads: int) -> Tensor:
    """(N, R, T, T) scaled products of two (N, T, D), without a chance for padding."""
    a, b = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (a, b))  # (N, R, T, D / R)
    return (a @ b.transpose(-1, -2) / math.sqrt(a.shape[-1])).masked_fill(real[:, None, None] == 0, IMPOSSIBLE)


def _widths(model: nn.Module, path: dict[str, str]) -> dict[str, int]:
    return {part: model.get_submodule(path[part]).out_features for part in path}  # type: ignore[misc]  # of linears


def _heads(teacher: dict[str, int], student: dict[str, int], chosen: list[tuple[str, str]], wanted: int | None) -> int:
    """How many heads cut the queries, keys and values that are compared.

    teacher, student   their widths, by q, k and v

    Raises OptionError for a number that does not divide them, and for pairs that are not equally wide.
    """
    if uneven := [x + y for x, y in chosen if teacher[x] != teacher[y] or student[x] != student[y]]:
        problem = f"--relations cannot be {uneven[0]}: there are fewer keys than queries in these models"
        raise OptionError(problem, wanted="qq, kk and vv", fix=f"leave {uneven[0]} out")
    used = {part for pair in chosen for part in pair}
    common = math.gcd(*(width[part] for width in (teacher, student) for part in used))
    fitting = [heads for heads in range(1, common + 1) if common % heads == 0]
    if wanted is None:
        return max(heads for heads in fitting if heads <= max(1, min(teacher[part] for part in used) // FINEST))
    if wanted not in fitting:
        raise OptionError(
            f"--relation-heads cannot be {wanted}: it does not divide the {teacher['q']} numbers of the teacher's queries, the "
            f"{student['q']} of the student's, and those of keys and values",
            wanted=" or ".join(map(str, fitting)),
            fix="leave it out",
        )
    return wanted
