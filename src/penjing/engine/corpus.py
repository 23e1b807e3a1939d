"""A text of any length to learn from: all its tokens in one file, packed once, mapped into memory, and cut into blocks of equal length.

The file lies in the cache under the fingerprint of the rows and of the tokenizer. A text that is larger than memory is never held in it.
"""

import hashlib
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy

from penjing.core.arrow_cache import cache_file, write
from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Task
from penjing.core.errors import DataError
from penjing.core.examples import Examples
from penjing.core.progress import progress
from penjing.engine.load import task_name

VERSION = 1  # raise it when the same rows give another stream
_ROWS = 500  # that are cut into tokens at a time


class Packed:
    """The blocks of a text, with the face of `batches.Encoded`: what a training reads.

    Each reaches one token into the next, for a task that tells what follows.

    tokens    (all,) of the whole text, mapped
    lengths   (blocks,) int32: all alike
    left_over how many tokens at the end are too few for a block
    """

    known, at_limit, whole, unit = True, 0, False, "blocks"

    def __init__(self, tokens: numpy.ndarray, task: Task, processor: Any, seed: int):
        self.tokens, self.processor, self._task, self._seed = tokens, processor, task, seed
        self._step = processor.model_max_length - processor.num_special_tokens_to_add()
        self.lengths = numpy.full((len(tokens) - 1) // self._step, processor.model_max_length, numpy.int32)
        self.left_over = len(tokens) - len(self.lengths) * self._step

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, rows: numpy.ndarray, quiet: bool = True) -> numpy.ndarray:
        """The lengths of these blocks."""
        return self.lengths[rows]

    def batch(self, rows: Sequence[int], epoch: int | None = None) -> Batch:
        """These blocks as one batch, with the draws of `epoch`."""
        return self._task.collate([{**self._block(row, epoch or 0), ROW: row} for row in rows], self.processor)

    def _block(self, row: int, epoch: int) -> dict[str, Any]:
        start = row * self._step
        return self._task.block(numpy.array(self.tokens[start : start + self._step + 1]), self.processor, [self._seed, epoch, row])


def packed(rows: Examples, task: Task, processor: Any, seed: int, quiet: bool = True) -> Packed:
    """The text of these rows, in their order.

    Raises DataError where it is shorter than a block, OptionError where the cache has no room for it.
    """
    kind = numpy.uint16 if len(processor) <= 1 << 16 else numpy.uint32
    path = cache_file("corpora", f"{_key(rows, task, processor)}.{numpy.dtype(kind).name}")
    if not path.exists():
        write(path, partial(_pack, rows, task, processor, kind, quiet))
    tokens = numpy.memmap(path, kind, "r") if path.stat().st_size else numpy.empty(0, kind)
    if len(tokens) <= processor.model_max_length:
        raise DataError(
            f"{rows.name}: its training text is {len(tokens):,} tokens long",
            wanted=f"more than a block, which has {processor.model_max_length:,}",
            fix="pass more text, or a lower --context",
        )
    return Packed(tokens, task, processor, seed)


def _pack(rows: Examples, task: Task, processor: Any, kind: type, quiet: bool, path: Path) -> None:
    with path.open("wb") as file, progress("rows packed", len(rows), quiet) as shown:
        for start in range(0, len(rows), _ROWS):
            part = list(rows[start : start + _ROWS])
            file.write(numpy.fromiter(itertools.chain(*task.stream(part, processor)), kind).tobytes())
            shown.step(len(part))


def _key(rows: Examples, task: Task, processor: Any) -> str:
    chosen = b"" if rows.chosen is None else rows.chosen.tobytes()
    names = repr(sorted(rows.renamed.items()))
    known = f"{VERSION}\n{rows.fingerprint}\n{names}\n{task_name(task)}\n{processor.backend_tokenizer.to_str()}"
    return hashlib.sha256(known.encode() + chosen).hexdigest()[:40]
