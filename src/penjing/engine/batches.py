"""Rows to batches: texts of like length together under a token budget, every draw keyed by seed and epoch.

Entries of one row (the windows of a long text) are never parted.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Example, Task
from penjing.core.progress import track

POOL_BATCHES = 50  # batches' worth of shuffled rows that are sorted by length together: close to no padding, and the order stays random
CACHE_BYTES = 1 << 30  # encoded rows kept in memory; beyond it a row is encoded again each time it is needed


class Encoded:
    """Rows as the model's entries, encoded once while they fit in memory.

    lengths   what each row costs of the token budget: its entries, each as long as the longest
    """

    def __init__(self, examples: Sequence[Example], task: Task, processor: Any, *, labelled: bool = True, quiet: bool = True):
        self._examples, self._task, self.processor, self._labelled = examples, task, processor, labelled
        self._kept: dict[int, list[dict[str, Any]]] = {}
        self._room = CACHE_BYTES
        self.lengths: list[int] = []
        self.at_limit = 0
        limit = processor.model_max_length if task.media == "text" else None
        for i in track(range(len(examples)), "reading rows", len(examples), quiet or len(examples) < 2000):
            entries = self._encode(i)
            size = sum(_size(entry) for entry in entries)
            if size <= self._room:
                self._kept[i], self._room = entries, self._room - size
            longest = max(task.length(entry) for entry in entries)
            self.lengths.append(longest * len(entries))
            self.at_limit += longest == limit

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, row: int) -> list[dict[str, Any]]:
        return self._kept.get(row) or self._encode(row)

    def batch(self, rows: Sequence[int]) -> Batch:
        """The entries of these rows as one batch."""
        return self._task.collate([entry for row in rows for entry in self[row]], self.processor)

    def _encode(self, row: int) -> list[dict[str, Any]]:
        example = self._examples[row]
        if not self._labelled:
            example = {name: value for name, value in example.items() if name not in self._task.target_columns}
        found = self._task.encode(example, self.processor)
        return [{**entry, ROW: row} for entry in (found if isinstance(found, list) else [found])]


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    move = {True: lambda value: value.to(device), False: lambda value: value}
    inputs, targets = ({name: move[isinstance(v, torch.Tensor)](v) for name, v in part.items()} for part in (batch.inputs, batch.targets))
    return batch._replace(inputs=inputs, targets=targets)


def training_order(lengths: Sequence[int], batch_rows: int, batch_tokens: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of each batch of an epoch: shuffled, like lengths together, batches in random order.

    A row longer than the whole budget makes a batch of its own.
    """
    draw = random.Random(f"{seed} {epoch}")
    order = list(range(len(lengths)))
    draw.shuffle(order)
    pool = batch_rows * POOL_BATCHES
    batches = [
        batch
        for start in range(0, len(order), pool)
        for batch in _cut(sorted(order[start : start + pool], key=lambda row: lengths[row]), lengths, batch_rows, batch_tokens)
    ]
    draw.shuffle(batches)
    return batches


def measuring_order(lengths: Sequence[int], batch_rows: int, batch_tokens: int) -> list[list[int]]:
    """Row numbers of each batch for measuring: longest first, so that too little memory shows at once."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    return list(_cut(order, lengths, batch_rows, batch_tokens))


def _cut(order: Sequence[int], lengths: Sequence[int], batch_rows: int, batch_tokens: int) -> Iterator[list[int]]:
    batch: list[int] = []
    longest = 0
    for row in order:
        longest = max(longest, lengths[row])
        if batch and (len(batch) == batch_rows or longest * (len(batch) + 1) > batch_tokens):
            yield batch
            batch, longest = [], lengths[row]
        batch.append(row)
    if batch:
        yield batch


def _size(entry: dict[str, Any]) -> int:
    """Rough bytes of an entry: a Python number in a list takes about 36."""
    return sum(v.nbytes if isinstance(v, torch.Tensor) else 36 * len(v) if isinstance(v, list) else 36 for v in entry.values())
