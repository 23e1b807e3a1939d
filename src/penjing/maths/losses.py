"""Losses of classification, regression and distillation, per row and in fp32, whatever the dtype of the logits.

Letters   N entries, T further dimensions of targets (tokens; may be absent), M distributions, C classes
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from penjing.core.contracts import RowLoss

CHUNK = 1 << 24  # numbers upcast at once: 64 MiB in fp32; a vocabulary of 150,000 gives about 110 tokens a chunk


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
    """`loss` of each row, with logits upcast a chunk of rows at a time, and again on the way back.

    Without the second upcast autograd would keep every chunk in fp32, and nothing would be saved.
    """

    def upcast(x: Tensor, y: Tensor) -> Tensor:
        return loss(_at_least_fp32(x), _at_least_fp32(y) if y.is_floating_point() else y)

    rows = max(1, CHUNK // max(1, logits.shape[-1]))
    if len(logits) <= rows:
        return upcast(logits, other)
    parts = zip(logits.split(rows), other.split(rows), strict=True)
    return torch.cat([checkpoint(upcast, x, y, use_reentrant=False, preserve_rng_state=False) for x, y in parts])


def _at_least_fp32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
