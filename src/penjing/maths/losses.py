"""Losses of classification, regression and distillation, per row and in fp32, whatever the dtype of the logits.

Letters   N entries, T further dimensions of targets (tokens; may be absent), M distributions, C classes
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from penjing.core.contracts import IMPOSSIBLE, RowLoss

CHUNK = 1 << 19  # numbers upcast at once: 2 MiB in fp32, which stays in a processor's cache
_KEPT = {torch.float16: torch.float32}  # a gradient that has not been scaled yet may be too small for fp16


def cross_entropy(logits: Tensor, targets: Tensor, ignore: int = -100) -> RowLoss:
    """Cross-entropy of each entry, in nats.

    logits    (N, *T, C), any floating dtype
    targets   (N, *T) int64; those equal to `ignore` neither add to the total nor to the count
    returns   total (N,) fp32, count (N,) int64; B = N
    """

    def each(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, ignore_index=ignore, reduction="none")

    flat = targets.flatten()
    loss = _in_chunks(each, logits.flatten(0, -2), flat)
    total, count = (x.view(*targets.shape, 1).flatten(1).sum(1) for x in (loss, flat != ignore))
    return RowLoss(total, count)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> RowLoss:
    """Cross-entropy of each entry over labels that do not exclude each other, in nats.

    logits    (N, C), any floating dtype
    targets   (N, C) in [0, 1], whether each label holds
    returns   total (N,) fp32 summed over labels, count (N,) = C

    Source: Nam, Kim, Loza Mencía, Gurevych, Fürnkranz 2014, "Large-scale multi-label text classification", section 3.
    """

    def each(logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)

    return RowLoss(_in_chunks(each, logits, targets), torch.full((len(logits),), logits.shape[-1], device=logits.device))


def squared_error(values: Tensor, targets: Tensor) -> RowLoss:
    """Squared difference of each number from its target.

    values, targets   (N,), any floating dtype
    returns           total (N,) fp32, count (N,) = 1

    Source: Gauss 1809, "Theoria motus", book 2, section 179.
    """
    return RowLoss(
        (_at_least_fp32(values) - _at_least_fp32(targets)).square(), torch.ones(len(values), dtype=torch.int64, device=values.device)
    )


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """(M,) how far a student is from its teacher: `kl` of distributions, the squared difference of numbers.

    student, teacher   (M, C), as `Task.logits` gives them; where C is 1 they are numbers, which have no temperature
    """
    return squared_error(student[:, 0], teacher[:, 0]).total if student.shape[-1] == 1 else kl(student, teacher, temperature)


def kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """(M,) KL(teacher || student) of the softened distributions, in nats, times temperature squared.

    student, teacher   (M, C) logits, any floating dtype; finite
    temperature        T > 0: both are divided by it; T squared keeps the size of the gradient as T changes

    At T = 1 its mean is the divergence of a child from its parent that reports show: kl(child, parent).

    Source: Hinton, Vinyals, Dean 2015, section 2.
    """

    def divergence(student: Tensor, teacher: Tensor) -> Tensor:
        log_q, log_p = (F.log_softmax(x / temperature, -1) for x in (student, teacher))
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1) * temperature**2

    return _in_chunks(divergence, student, teacher)


def from_uniform(logits: Tensor) -> Tensor:
    """(M,) cross-entropy of each distribution from the uniform one over what is possible, in nats.

    logits   (M, C), any floating dtype; IMPOSSIBLE where there is nothing to choose
    """

    def each(logits: Tensor, possible: Tensor) -> Tensor:
        return torch.logsumexp(logits, -1) - (logits * possible).sum(-1) / possible.sum(-1)

    return _in_chunks(each, logits, logits.detach() > IMPOSSIBLE)


def beside(values: Tensor, owners: Tensor, targets: RowLoss, weight: float) -> RowLoss:
    """The loss of the targets plus `weight` times the mean of other values, which may be more or fewer than the targets.

    values    (M,) one for each distribution, those of one row together
    owners    (M,) the row of each
    targets   of the same B rows, in the same order
    """
    _, place = torch.unique_consecutive(owners, return_inverse=True)
    place = place.to(values.device)
    total = torch.zeros_like(targets.total).index_add(0, place, values)
    number = torch.zeros_like(targets.total).index_add(0, place, torch.ones_like(values))
    return RowLoss(targets.total + weight * total * targets.count / number, targets.count)


def _in_chunks(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, other: Tensor) -> Tensor:
    """`loss` of each row, which depends on that row alone, with few of them in fp32 at a time."""
    if len(logits) <= _rows_at_once(logits):
        return loss(_at_least_fp32(logits), _at_least_fp32(other))
    return _Chunks.apply(loss, logits, other)  # type: ignore[no-any-return]


class _Chunks(torch.autograd.Function):
    """The gradient of a chunk is taken at once, while its numbers are at hand: nothing is computed twice, and only gradients are kept."""

    @staticmethod
    def forward(context: Any, loss: Callable[[Tensor, Tensor], Tensor], *inputs: Tensor) -> Tensor:  # type: ignore[override]
        wanted = [i for i, needed in enumerate(context.needs_input_grad[1:]) if needed]
        kept = [torch.empty_like(inputs[i], dtype=_KEPT.get(inputs[i].dtype, inputs[i].dtype)) for i in wanted]
        rows = _rows_at_once(inputs[0])
        found = []
        for start in range(0, len(inputs[0]), rows):
            chunk = [_at_least_fp32(x[start : start + rows]).detach().requires_grad_(i in wanted) for i, x in enumerate(inputs)]
            with torch.enable_grad():
                found.append(loss(*chunk))
            gradients = torch.autograd.grad(found[-1], [chunk[i] for i in wanted], torch.ones_like(found[-1])) if wanted else ()
            for held, gradient in zip(kept, gradients):
                held[start : start + rows] = gradient
        context.save_for_backward(*kept)
        context.wanted, context.dtypes = wanted, [x.dtype for x in inputs]
        return torch.cat([values.detach() for values in found])

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        results: list[Tensor | None] = [None] * len(context.dtypes)
        for i, held in zip(context.wanted, context.saved_tensors):
            results[i] = torch.empty_like(held, dtype=context.dtypes[i])
            rows = _rows_at_once(held)
            for start in range(0, len(held), rows):
                part = slice(start, start + rows)
                results[i][part] = held[part] * gradient[part].unsqueeze(1)  # type: ignore[index]
        return None, *results


def _rows_at_once(logits: Tensor) -> int:
    return max(1, CHUNK // max(1, logits.shape[-1]))


def _at_least_fp32(x: Tensor) -> Tensor:
    """Whole numbers stay what they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32)) if x.is_floating_point() else x
