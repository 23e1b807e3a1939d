"""AdamW for tables of embeddings at the cost of the rows that a batch reads, rather than of all.

A row that was not read still moves in AdamW, by weight decay and its fading momentum. Over any number of steps both have a closed form, so
such a row is moved when it is read next, or where the whole table is wanted.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

FADING, FADING_SQUARE, EPSILON = 0.9, 0.999, 1e-8  # of torch's AdamW
MANY_ROWS = 4096  # of a smaller table a batch may well read most


def large_tables(model: nn.Module, names: Collection[str]) -> dict[str, nn.Embedding]:
    """Embeddings of many rows by the names of their weights, among `names`; those whose weights serve elsewhere too are left out."""
    users = [id(weight) for module in model.modules() for weight in module.parameters(recurse=False)]
    found = {f"{path}.weight": module for path, module in model.named_modules() if isinstance(module, nn.Embedding)}
    return {name: m for name, m in found.items() if name in names and len(m.weight) >= MANY_ROWS and users.count(id(m.weight)) == 1}


class RowsAdamW(torch.optim.Optimizer):
    """AdamW but for rounding, and for its epsilon in rows that wait: there it fades as the root of the second moment does.

    groups   as for torch's AdamW; of tables (N, D) whose gradients are sparse
    tables   the modules that read them; in a training pass each brings the rows it reads up to date first

    For each row are kept its moments as of the last step that read it, `age`, how many steps have gone by since then, and what these would
    have made of the weights: decay * weights - drift * mean / (sqrt(square) + epsilon), with the epsilon of the step that read it.

    Source: Loshchilov, Hutter 2019, algorithm 2, summed over steps without a gradient
    """

    def __init__(self, groups: Sequence[dict[str, Any]], tables: Iterable[nn.Embedding], lr: float):
        super().__init__(groups, {"lr": lr})
        self._tables = list(tables)
        self._hooks = [module.register_forward_pre_hook(self._before) for module in self._tables]
        for module in self._tables:
            module.sparse = True

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows that have a gradient; of the others only note that a step has gone by."""
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._move(table, group)

    def _move(self, table: Tensor, group: dict[str, Any]) -> None:
        if table not in self.state:
            ones, zeros = torch.ones_like(table[:, 0]), torch.zeros_like(table[:, 0])
            moments = {"mean": torch.zeros_like(table), "square": torch.zeros_like(table)}
            self.state[table] = {**moments, "decay": ones, "drift": zeros, "age": zeros.clone(), "steps": 0}
        state, rows, gradient = self.state[table], table.grad.indices()[0], table.grad.values()  # type: ignore[union-attr]
        rate, kept = group["lr"], 1 - group["lr"] * group["weight_decay"]
        state["steps"] += 1
        unbiased = 1 - FADING ** state["steps"], math.sqrt(1 - FADING_SQUARE ** state["steps"])
        state["age"] += 1
        faded = torch.pow(FADING / math.sqrt(FADING_SQUARE), state["age"])
        state["decay"] *= kept
        state["drift"].mul_(kept).add_(faded, alpha=rate * unbiased[1] / unbiased[0])
        mean = state["mean"][rows].lerp_(gradient, 1 - FADING)
        square = state["square"][rows].mul_(FADING_SQUARE).addcmul_(gradient, gradient, value=1 - FADING_SQUARE)
        moved = (mean / unbiased[0]).div_(square.sqrt().div_(unbiased[1]).add_(EPSILON))
        table.index_copy_(0, rows, (table[rows] * kept).sub_(moved, alpha=rate))
        self._settled(state, rows, mean, square)

    def _settled(self, state: dict[str, Any], rows: Tensor, mean: Tensor, square: Tensor) -> None:
        """These rows are up to date."""
        for name, values in (("mean", mean), ("square", square)):
            state[name].index_copy_(0, rows, values)
        for name, value in (("decay", 1.0), ("drift", 0.0), ("age", 0.0)):
            state[name].index_fill_(0, rows, value)

    @torch.no_grad()
    def _catch_up(self, table: Tensor, rows: Tensor) -> None:
        state = self.state[table]
        rows = rows[state["age"][rows] > 0]
        mean, square, age = state["mean"][rows], state["square"][rows], state["age"][rows].unsqueeze(1)
        read = (state["steps"] - age).clamp(min=1)  # the step that read it last
        epsilon = EPSILON * (1 - torch.pow(FADING_SQUARE, read)).sqrt()
        pull = (mean / (square.sqrt() + epsilon)).mul_(state["drift"][rows].unsqueeze(1))
        table.index_copy_(0, rows, (table[rows] * state["decay"][rows].unsqueeze(1)).sub_(pull))
        self._settled(state, rows, mean * torch.pow(FADING, age), square * torch.pow(FADING_SQUARE, age))

    def _before(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled() and module.weight in self.state:
            self._catch_up(module.weight, inputs[0].unique())  # type: ignore[arg-type]

    def settle(self) -> None:
        """Bring all rows up to date."""
        for table in self.state:
            self._catch_up(table, torch.arange(len(table)))

    def release(self) -> None:
        """Leave the modules as they were, with what they have learnt."""
        self.settle()
        for module, hook in zip(self._tables, self._hooks):
            hook.remove()
            module.sparse = False
