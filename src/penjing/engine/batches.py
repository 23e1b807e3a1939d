"""Rows to batches: texts of like length together under a token budget, every draw keyed by seed and epoch.

Entries of one row (the windows of a long text) are never parted. Of many rows only those of the pool that is being trained on are encoded;
nothing here grows with the number of rows but a few arrays of numbers.
"""

import functools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy
import torch

from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Example, Task
from penjing.core.examples import Examples
from penjing.core.media import Media
from penjing.core.progress import track
from penjing.core.runtime import cores, place_of_rank

POOL_BATCHES = 50  # batches' worth of shuffled rows that are sorted by length together: close to no padding, and the order stays random
MOST_READ_FIRST = 100_000  # rows; of more the lengths are estimated, and a row is encoded when its turn comes
SAMPLE_ROWS = 1000  # encoded to estimate the others' lengths: their mean is then known to about 2 %
CACHE_BYTES = 1 << 30  # encoded or decoded rows kept in memory; beyond it a row is read again each time it is needed
SLOW_S = 0.001  # that a row may take before several threads are tried; they are kept where they take less than FASTER of the time
FASTER = 0.8
TIMED_ROWS, AT_ONCE = 16, 64  # rows that are timed; that are handed to the threads, which may all lie in memory at a time

WRITTEN = ("tokens", "labels")  # entries of a task whose answers are written: their tokens, below 0 what is not told


class View(Protocol):
    """How epochs see rows; pure."""

    def __call__(self, rows: Sequence[Example], row: int, epoch: int) -> Example:
        """A row as an epoch sees it, about as long as it is, or shorter."""
        ...

    def keeps_label(self, row: int, epoch: int) -> bool:
        """Whether its targets hold there."""
        ...


class Encoded:
    """Rows as the model's entries: all encoded at once while they are few, else when their turn comes.

    views     how an epoch sees the rows; where there are several a batch holds its rows once for each, one whole copy after the other
    lengths   (rows,) int32 what each costs of the token budget: its entries, each as long as the longest; estimated until `read`
    known     whether all have been read
    whole     whether a batch cannot be computed in parts, as its rows are compared with each other
    at_limit  how many rows fill the model's window; estimated where they are many
    unit      what its rows are called
    """

    unit = "rows"

    def __init__(
        self, examples: Sequence[Example], task: Task, processor: Any, *,
        labelled: bool = True, quiet: bool = True, views: Sequence[View] = (),
    ):  # fmt: skip
        self._examples = Decoded(examples) if views else examples
        self.whole = task.interact
        self._task, self.processor, self._labelled, self._views = task, processor, labelled, views
        self._kept: dict[int, list[dict[str, Any]]] = {}
        self._room = 0 if views else CACHE_BYTES  # what an epoch sees is of no use to another
        self.known = len(examples) <= MOST_READ_FIRST or not isinstance(examples, Examples)
        self.lengths = numpy.zeros(len(examples), numpy.int32)
        self._read, self._full = numpy.zeros(len(examples), bool), numpy.zeros(len(examples), bool)
        self._threads: ThreadPoolExecutor | None = None
        self._threads = self._faster_threads()
        rows = numpy.arange(len(examples)) if self.known else numpy.linspace(0, len(examples) - 1, SAMPLE_ROWS).astype(int)
        self.read(rows, quiet or len(rows) < 2000)
        self.at_limit = round(int(self._full.sum()) * len(examples) / max(1, len(rows)))
        if isinstance(examples, Examples) and not self.known:  # a row is as long as the one of its rank in the sample
            sizes, known = examples.sizes(task.input_columns()), self.lengths[rows]
            self.lengths = numpy.interp(sizes, numpy.sort(sizes[rows]), numpy.sort(known)).astype(numpy.int32)
            self.lengths[rows] = known

    def __len__(self) -> int:
        return len(self._examples)

    def batch(self, rows: Sequence[int], epoch: int | None = None) -> Batch:
        """The entries of these rows as one batch, as `epoch` sees them; as they are where it is None."""
        if epoch is None or not self._views:
            found = self._found(rows)
            return self._task.collate([entry for row in rows for entry in found[row]], self.processor)
        once, seen, hold = list(dict.fromkeys(rows)), list[dict[str, Any]](), list[bool]()
        for view in self._views:
            found = dict(zip(once, self._each(once, view, epoch)))
            seen += [entry for row in rows for entry in found[row]]
            hold += [view.keeps_label(row, epoch) for row in rows for _ in found[row]]
        return self._task.collate(seen, self.processor)._replace(fresh=True, labelled=None if all(hold) else torch.tensor(hold))

    def read(self, rows: numpy.ndarray, quiet: bool = True) -> numpy.ndarray:
        """Encode rows that nobody has encoded yet, keep them while there is room, and return the true lengths of all these rows."""
        unread = rows[~self._read[rows]].tolist()
        for row, entries in zip(unread, track(self._each(unread), "reading rows", len(unread), quiet)):
            if (size := _size(entries)) <= self._room:
                self._kept[row], self._room = entries, self._room - size
            self.lengths[row] = max(self._task.length(entry) for entry in entries) * len(entries)
            self._full[row] = any(self._task.fills_window(entry, self.processor) for entry in entries)
            self._read[row] = True
        return self.lengths[rows]

    def _found(self, rows: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """The entries of each row, those that are kept as they are."""
        found = {row: self._kept[row] for row in rows if row in self._kept}
        if not self.known:  # their turn has come, and the next is an epoch away
            for row, entries in found.items():
                del self._kept[row]
                self._room += _size(entries)
        rest = [row for row in dict.fromkeys(rows) if row not in found]
        return {**found, **dict(zip(rest, self._each(rest)))}

    def _each(self, rows: Sequence[int], view: View | None = None, epoch: int = 0) -> Iterator[list[dict[str, Any]]]:
        """The entries of each row, in their order, encoded now: as a view has it in an epoch, or as it is."""
        encode, threads = functools.partial(self._encode, view=view, epoch=epoch), self._threads
        if threads is None:
            return map(encode, rows)
        parts = (rows[start : start + AT_ONCE] for start in range(0, len(rows), AT_ONCE))
        return (found for part in parts for found in threads.map(encode, part))

    def _faster_threads(self) -> ThreadPoolExecutor | None:
        """A thread for each core, where one alone takes long for a row and they are faster; decoding leaves the interpreter free.

        Photographs of 500 x 500 pixels as JPEG to 224 x 224: one thread 230 rows/s, two 420, four 580; four processes, which must hand over
        what they read, 300 (4 cores, 2026-11-22).
        """
        number, rows = cores() // place_of_rank()[1], range(min(TIMED_ROWS, len(self)))
        alone = self._seconds(rows) if number > 1 and self._task.media != "text" and rows else 0.0
        if alone <= SLOW_S * len(rows):
            return None
        self._threads = ThreadPoolExecutor(number)
        return self._threads if self._seconds(rows) < FASTER * alone else None

    def _seconds(self, rows: Sequence[int]) -> float:
        """How long it takes to encode these rows as an epoch does."""
        start = time.perf_counter()
        for view in self._views or (None,):
            list(self._each(rows, view))
        return time.perf_counter() - start

    def _encode(self, row: int, view: View | None = None, epoch: int = 0) -> list[dict[str, Any]]:
        example = view(self._examples, row, epoch) if view else self._examples[row]
        if not self._labelled:
            example = {name: value for name, value in example.items() if name not in self._task.target_columns}
        found = self._task.encode(example, self.processor)
        return [{**entry, ROW: row} for entry in (found if isinstance(found, list) else [found])]


class Decoded(Sequence[Example]):
    """Rows whose images and sounds are decoded when they are first asked for and kept so, while there is room for them."""

    def __init__(self, examples: Sequence[Example]):
        self._examples, self._room = examples, CACHE_BYTES
        self._kept: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, row: int) -> Example:  # type: ignore[override]  # nobody asks for slices
        if row in self._kept:
            return self._kept[row]
        example = {name: value.held() if isinstance(value, Media) else value for name, value in self._examples[row].items()}
        held = (value.source if isinstance(value, Media) else value for value in example.values())
        size = sum(value.nbytes if isinstance(value, numpy.ndarray) else sys.getsizeof(value) for value in held)
        if size <= self._room:  # several threads may each take the last of it
            self._kept[row], self._room = example, self._room - size
        return example


class Order:
    """The batches of a training, pool by pool: a function of the rows, the sizes of a batch, seed and epoch, and of nothing else."""

    def __init__(self, encoded: Any, batch_rows: int, batch_tokens: int, seed: int):
        self._encoded, self._batch_rows, self._batch_tokens, self._seed = encoded, batch_rows, batch_tokens, seed
        self._shuffled = -1, numpy.empty(0, numpy.int32)
        self.num_pools = -(-len(encoded) // (batch_rows * POOL_BATCHES))

    def num_batches(self) -> int:
        """How many the first epoch has, about where lengths are estimated; other epochs have nearly as many."""
        return sum(len(self._cut(0, pool, self._encoded.lengths[self.rows(0, pool)])) for pool in range(self.num_pools))

    def batches(self, epoch: int, pool: int) -> list[list[int]]:
        """Row numbers of each batch of a pool: like lengths together, batches in random order.

        A row longer than the whole budget makes a batch of its own.
        """
        return self._cut(epoch, pool, self._encoded.read(self.rows(epoch, pool)))

    def rows(self, epoch: int, pool: int) -> numpy.ndarray:
        """Which rows a pool of an epoch holds; none behind the last pool."""
        if self._shuffled[0] != epoch:
            shuffled = numpy.arange(len(self._encoded), dtype=numpy.int32)
            numpy.random.default_rng([self._seed, epoch]).shuffle(shuffled)
            self._shuffled = epoch, shuffled
        size = self._batch_rows * POOL_BATCHES
        return self._shuffled[1][pool * size : (pool + 1) * size]

    def _cut(self, epoch: int, pool: int, lengths: numpy.ndarray) -> list[list[int]]:
        batches = _by_length(self.rows(epoch, pool), lengths, self._batch_rows, self._batch_tokens)
        order = numpy.random.default_rng([self._seed, epoch, pool + 1]).permutation(len(batches))
        return [batches[i] for i in order]


def tokens_of(examples: Examples, task: Task, processor: Any, quiet: bool) -> Counter[int]:
    """How often each token stands in these rows, as the task reads them and as its answers are written."""
    found = Counter[int]()
    for example in track(examples, "counting tokens", len(examples), quiet):
        if task.self_supervised and not task.generates:  # what is seen of a text there is masked, and in part drawn
            for ids in processor(task.texts(example), add_special_tokens=False, verbose=False)["input_ids"]:
                found.update(ids)
            continue
        encoded = task.encode(example, processor)
        for entry in encoded if isinstance(encoded, list) else [encoded]:
            for name in ("input_ids", *(WRITTEN if task.generates else ())):
                found.update(token for token in entry.get(name, ()) if token >= 0)
    return found


def measuring_batches(encoded: Encoded, batch_rows: int, batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers of each batch for measuring: longest first, so that too little memory shows at once; of many rows pool by pool."""
    pool = len(encoded) if encoded.known else batch_rows * POOL_BATCHES
    for start in range(0, len(encoded), max(1, pool)):
        rows = numpy.arange(start, min(start + pool, len(encoded)))
        yield from _by_length(rows, encoded.read(rows), batch_rows, batch_tokens, longest_first=True)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on `device`."""
    move = {True: lambda value: value.to(device), False: lambda value: value}
    inputs, targets = ({name: move[isinstance(v, torch.Tensor)](v) for name, v in part.items()} for part in (batch.inputs, batch.targets))
    return batch._replace(inputs=inputs, targets=targets)


def _by_length(
    rows: numpy.ndarray, lengths: numpy.ndarray, batch_rows: int, batch_tokens: int, longest_first: bool = False
) -> list[list[int]]:
    """Rows (n,) of lengths (n,) sorted and cut into batches."""
    order = numpy.argsort(-lengths if longest_first else lengths, kind="stable")
    return list(_parted(rows[order].tolist(), lengths[order].tolist(), batch_rows, batch_tokens))


def _parted(rows: list[int], lengths: list[int], batch_rows: int, batch_tokens: int) -> Iterator[list[int]]:
    start, longest = 0, 0
    for end, length in enumerate(lengths):
        longest = max(longest, length)
        if end > start and (end - start == batch_rows or longest * (end - start + 1) > batch_tokens):
            yield rows[start:end]
            start, longest = end, length
    if rows:
        yield rows[start:]


def _size(entries: list[dict[str, Any]]) -> int:
    """Rough bytes of a row: a Python number in a list takes about 36."""
    sizes = (v.nbytes if isinstance(v, torch.Tensor) else 36 * len(v) if isinstance(v, list) else 36 for e in entries for v in e.values())
    return sum(sizes)
