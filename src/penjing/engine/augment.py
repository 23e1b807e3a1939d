"""Training rows as an epoch sees them: changed by what `--augment` names, every draw keyed by seed, epoch and row.

So a run that goes on after a stop sees what it would have seen, whichever thread or process changes the rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from penjing.core.contracts import Example, Task
from penjing.core.find import find
from penjing.core.training import Training

METHODS = "methods.augment"
Changes = dict[str, tuple[Callable[..., Any], ...]]


@dataclass(frozen=True)
class Augmented:
    """A view of rows, as `batches.View` has it; may be sent to another process.

    columns    for each column that changes, what changes it, in turn
    losing     the same of what does not keep the label, before that
    strength   of all of them, in [0, 1]
    seed       with epoch, row and `number` the key of all draws
    number     of this view among those of a training, from 1
    keyed      whether a row carries the key of the draws that its task makes, as `draw`
    """

    columns: Changes
    losing: Changes
    strength: float
    seed: int
    number: int = 1
    keyed: bool = False

    def __call__(self, rows: Sequence[Example], row: int, epoch: int) -> Example:
        key = self._key(row, epoch)
        draw, example = numpy.random.default_rng(key), {**rows[row], **({"draw": key} if self.keyed else {})}
        for columns in [self.columns] if self.keeps_label(row, epoch) else [self.losing, self.columns]:
            for column, changes in columns.items():
                for change in changes:
                    example[column] = change(example[column], draw, self.strength, partial(_another, rows, column, draw))
        return example

    def keeps_label(self, row: int, epoch: int) -> bool:
        """Whether the label of a row holds in an epoch; with what does not keep it, a share `strength` of all lose theirs."""
        return not self.losing or numpy.random.default_rng([*self._key(row, epoch), 1]).random() >= self.strength

    def _key(self, row: int, epoch: int) -> list[int]:
        return [self.seed, epoch, row, self.number]  # four numbers: no key of the order of batches


def _another(rows: Sequence[Example], column: str, draw: numpy.random.Generator) -> Any:
    return rows[int(draw.integers(len(rows)))][column]


def augmented(task: Task, options: Training, seed: int, strengths: Sequence[float] = (1.0,)) -> list[Augmented]:
    """How each epoch sees the training rows, once for each share of the strength that was chosen; [] where it sees them as they are."""
    methods = [find(METHODS, name) for name in options.augment or []]
    keeping, losing = (_changes(task, [m for m in methods if m.KEEPS_LABEL is keeps]) for keeps in (True, False))
    shares = enumerate(strengths if keeping or losing or task.draws else [], 1)
    return [Augmented(keeping, losing, share * options.augment_strength, seed, number, task.draws) for number, share in shares]


def _changes(task: Task, methods: Sequence[Any]) -> Changes:
    """What changes each column that the methods are for."""
    every = {column: tuple(m.apply for m in methods if m.KIND is kind) for column, kind in task.input_columns().items()}
    return {column: changes for column, changes in every.items() if changes and column not in task.fixed}
