"""How the weights move: the optimizers, and how the learning rate rises and falls.

All of one kind of pull stand in one group of weights: {"params", "factor", "weight_decay", "l1"}; before each step the loop sets its "lr".
Neither pull acts on norms and biases (one-dimensional tensors).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from penjing.core.errors import ModelError
from penjing.core.training import Training
from penjing.engine.tables import RowsAdamW
from penjing.methods.finetune import Rate, within

DECAY_SHARE = 0.2  # of wsd; Hägele et al. 2024, figure 5: a fifth of the steps does as well as cosine
SCHEDULES: dict[str, Callable[[float], float]] = {  # t: share of the training after warm-up that is done, in [0, 1]
    "constant": lambda t: 1.0,
    "linear": lambda t: 1.0 - t,
    "cosine": lambda t: 0.5 * (1.0 + math.cos(math.pi * t)),
    "wsd": lambda t: 1.0 - math.sqrt(max(0.0, t - 1.0 + DECAY_SHARE) / DECAY_SHARE),
}
MOMENTUM = {"sgd": 0.9, "muon": 0.95}


class Optimizer:
    """Optimizers of torch, each for its own weights, as one; L1 pulls after their step.

    parts     the optimizers
    kernels   (weight, matrix) of each convolution whose part moves it as a matrix that shares its memory
    rows      one more part, for tables of which it moves the rows that are read
    """

    def __init__(
        self, parts: Sequence[torch.optim.Optimizer], kernels: Sequence[tuple[Tensor, Tensor]] = (), rows: RowsAdamW | None = None
    ):  # fmt: skip
        self._parts, self._kernels, self._rows = [*parts, *([rows] if rows else [])], kernels, rows

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all parts; what is set in them holds for the next step."""
        return [group for part in self._parts for group in part.param_groups]

    @torch.no_grad()
    def step(self) -> None:
        """Move the weights that have a gradient by it; then those under L1 towards zero, and to zero where they cross it.

        The pull is proximal: |weight| falls by lr * l1 and stops at zero. A subgradient would swing around zero and leave no weight there.
        Like weight decay in AdamW it is not scaled by the gradients' size; with SGD it descends loss + l1 |weights| (ISTA).

        Source: Beck, Teboulle 2009, equation 1.5
        """
        for weight, matrix in self._kernels:
            matrix.grad = None if weight.grad is None else _by_memory(weight.grad, weight).flatten(1)
        for part in self._parts:
            part.step()
        for group in self.param_groups:
            for weight in group["params"] if group["l1"] else ():
                if weight.grad is not None:
                    weight.copy_(torch.nn.functional.softshrink(weight, group["lr"] * group["l1"]))

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self._parts:
            part.zero_grad()
        for weight, _ in self._kernels:
            weight.grad = None

    def settle(self) -> None:
        """Let all weights be what the steps so far make of them."""
        if self._rows:
            self._rows.settle()

    def release(self) -> None:
        """Leave the modules of the model as they were, with what they have learnt."""
        if self._rows:
            self._rows.release()

    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on beside weights and gradients."""
        return {type(part).__name__: part.state_dict() for part in self._parts}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        for part in self._parts:
            part.load_state_dict(saved[type(part).__name__])


def make_optimizer(
    weights: Iterable[tuple[str, Tensor]], rates: Mapping[str, Rate], options: Training, blocks: tuple[str, ...],
    tables: Mapping[str, nn.Embedding] | None = None,
) -> Optimizer:  # fmt: skip
    """What `options.optimizer` names, over the weights that learn.

    weights   tensors by the names that `rates` knows; those without a rate are left out
    blocks    paths of the model's blocks: muon is for their matrices, AdamW does the rest
    tables    modules of weights that AdamW moves row by row

    Raises ModelError where muon has nothing to move.
    """
    learning = {name: weight for name, weight in weights if name in rates}
    hidden = {name for name, weight in learning.items() if options.optimizer == "muon" and weight.ndim > 1 and within(name, blocks)}
    if options.optimizer == "muon" and not hidden:
        raise ModelError(
            "muon has nothing to move: no matrix in a block of this model learns", wanted="adamw", fix="pass --optimizer adamw"
        )
    by_rows = {} if options.optimizer == "sgd" or options.l1 or options.average else dict(tables or {})
    rows = _groups(((rates[name], learning[name]) for name in by_rows), options)
    rest = _groups(((rates[name], weight) for name, weight in learning.items() if name not in {*hidden, *by_rows}), options)
    parts: list[torch.optim.Optimizer] = []
    kernels: list[tuple[Tensor, Tensor]] = []
    if hidden:
        muon, kernels = _muon([(rates[name], weight) for name, weight in learning.items() if name in hidden], options)
        parts.append(muon)
    if rest:
        parts.append(_sgd(rest, options) if options.optimizer == "sgd" else _adamw(rest, options))
    return Optimizer(parts, kernels, RowsAdamW(rows, by_rows.values(), options.learning_rate) if by_rows else None)


def _groups(weights: Iterable[tuple[Rate, Tensor]], options: Training) -> list[dict[str, Any]]:
    alike: dict[tuple[float, bool], list[Tensor]] = {}
    for rate, weight in weights:
        alike.setdefault((rate.factor, weight.ndim > 1), []).append(weight)
    pulls = {True: {"weight_decay": options.weight_decay, "l1": options.l1}, False: {"weight_decay": 0.0, "l1": 0.0}}
    return [{"params": alike[factor, many], "factor": factor, **pulls[many]} for factor, many in sorted(alike, reverse=True)]


def _adamw(groups: list[dict[str, Any]], options: Training) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=options.learning_rate, fused=True)


def _sgd(groups: list[dict[str, Any]], options: Training) -> torch.optim.Optimizer:
    momentum = _momentum(options)
    fused = not options.sharded  # torch 2.13 cannot fuse it over weights that are shared out
    return torch.optim.SGD(groups, lr=options.learning_rate, momentum=momentum, nesterov=options.nesterov and momentum > 0, fused=fused)


def _muon(hidden: list[tuple[Rate, Tensor]], options: Training) -> tuple[torch.optim.Optimizer, list[tuple[Tensor, Tensor]]]:
    """Muon for the matrices of the blocks, and the kernels among them with the matrices that share their memory.

    Each update of a matrix has the root mean square of AdamW's, 0.2, so that one learning rate and one decay serve both.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", kernels of convolutions flattened; scale as in
    Liu et al. 2025, "Muon is scalable for LLM training", section 2.2
    """
    kernels, matrices = [], []
    for rate, weight in hidden:
        matrix = weight if weight.ndim == 2 else _by_memory(weight.detach(), weight).view(len(weight), -1)
        kernels += [(weight, matrix)] if matrix is not weight else []
        matrices.append((rate, matrix))
    groups, momentum = _groups(matrices, options), _momentum(options)
    muon = torch.optim.Muon(groups, lr=options.learning_rate, momentum=momentum, nesterov=options.nesterov, adjust_lr_fn="match_rms_adamw")
    return muon, kernels


def _momentum(options: Training) -> float:
    return MOMENTUM[options.optimizer] if options.momentum is None else options.momentum


def _by_memory(values: Tensor, kernel: Tensor) -> Tensor:
    """`values` with all dimensions but the first as `kernel` has them in memory: orthogonalising does not ask for the order of columns."""
    return values.permute(0, *sorted(range(1, kernel.ndim), key=kernel.stride, reverse=True))
