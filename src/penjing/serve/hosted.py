"""A model directory that answers rows, as `penjing predict` does: the same encode, collate and decode as training."""

import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy
import torch

from penjing.core.collate import ROW
from penjing.core.contracts import Batch, Example, Prediction
from penjing.core.image import Image
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load
from penjing.engine.backends import Backend, open_backend
from penjing.engine.backends.torch import TorchBackend

NOTED = 4  # rows of different length that were asked, by which a model of torch is traced

Entries = list[dict[str, Any]]
"""A row as the model's entries."""


class Answer(NamedTuple):
    """The answer to one row, and the chance of each label, or a list of these for each of its words; None where none were asked for."""

    prediction: Prediction
    probabilities: Any = None


class Hosted:
    """One loaded model.

    task, processor   of the directory; `encode` may be called by one thread at a time, `answer` by `lanes`
    shared            whether several threads ask it, as a server's do
    lanes             how many of them can each compute a batch of their own, so that a row waits for none under way: all of an engine that
                      computes without the interpreter, as a model of torch does from when it is traced; then each has one thread
    pads              whether its engine computes a batch as long as its longest row
    """

    def __init__(self, name: str, base: ModelDir, runtime: Runtime, shared: bool = False):
        self.name, self.base, self.runtime = name, base, runtime
        self.task = load.task_for(base)
        self.processor = load.load_processor(base, self.task)
        self._threads = (runtime.threads or torch.get_num_threads()) if shared and not self.task.generates else 1
        self.lanes = self._threads if base.engine == "onnxruntime" else 1
        self.backend = open_backend(base, self.task, runtime, threads=1 if self.lanes > 1 else None)
        traceable = isinstance(self.backend, TorchBackend) and runtime.device == "cpu" and self._threads > 1
        self._noted: dict[int, Entries] | None = {} if traceable else None
        self.pads = base.engine != "onnxruntime"  # which computes it in pieces of like length

    def encode(self, row: Example, processor: Any = None) -> Entries:
        """A row of the task's input columns as entries; `processor` is another of the same, for another thread."""
        found = self.task.encode(row, processor or self.processor)
        return found if isinstance(found, list) else [found]

    def length(self, entries: Entries) -> int:
        """What a row costs of the token budget: its entries, each as long as the longest."""
        return max(map(self.task.length, entries)) * len(entries)

    def facts(self) -> dict[str, Any]:
        """What a client must know to ask well: of images the "shape" (K, H, W) that the model reads, of writers whether they "chat"."""
        if self.task.media == "image":
            (entry,) = self.encode({"image": Image(numpy.zeros((64, 64), numpy.uint8), "blank")})
            return {"shape": [*entry["pixel_values"].shape]}
        return {"chat": bool(self.processor.chat_template)} if self.task.generates else {}

    def answer(self, rows: Sequence[Entries], probabilities: bool = False) -> list[Answer]:
        """The answers to rows, as one batch."""
        if self._noted is not None:
            self._note(rows)
        batch = self._batch(rows)
        if not probabilities:
            return [Answer(said) for said in self.task.together(self.task.predict(self.backend, batch, self.processor))]
        heard = _Heard(self.backend)
        predictions = self.task.together(self.task.predict(heard, batch, self.processor))
        return [Answer(*each) for each in zip(predictions, self._chances(heard.outputs, batch))]

    def _note(self, rows: Sequence[Entries]) -> None:
        """Take these for examples; where there are enough trace the model, beside what is asked meanwhile."""
        noted = self._noted or {}
        for row in rows:
            noted[len(noted) if self.task.media == "image" else self.length(row)] = row
        self._noted = noted if len(noted) < NOTED else None
        if self._noted is None:
            threading.Thread(target=self._trace, args=([*noted.values()][:NOTED],), name=f"tracing {self.name}").start()

    def _trace(self, rows: Sequence[Entries]) -> None:
        assert isinstance(self.backend, TorchBackend)
        if self.backend.trace([self._batch(part).inputs for part in (*([row] for row in rows), rows[:2], rows)]):
            self.lanes = self._threads

    def _batch(self, rows: Sequence[Entries]) -> Batch:
        return self.task.collate([{**entry, ROW: row} for row, entries in enumerate(rows) for entry in entries], self.processor)

    def worded(self, rows: Sequence[Entries], texts: Sequence[str]) -> list[Answer]:
        """The answers to rows whose texts have been written."""
        batch = self._batch(rows)
        return [Answer(said) for said in self.task.together(self.task.predict(_Written(texts), batch, self.processor))]

    def _chances(self, outputs: Any, batch: Batch) -> list[Any]:
        labels = self.task.labels
        found, owners = self.task.logits(outputs, batch)
        chances = found.detach().float().softmax(-1).cpu()
        if self.task.problem_type == "multi_label_classification":  # of each label a distribution over no and yes
            return [dict(zip(labels, yes)) for yes in chances[:, 1].view(-1, len(labels)).tolist()]
        each = [dict(zip(labels, row)) for row in chances.tolist()]
        counts = torch.unique_consecutive(owners, return_counts=True)[1].tolist()
        if len(counts) == len(each) and "tokens" not in self.task.input_columns():
            return each
        told = iter(each)
        return [[next(told) for _ in range(count)] for count in counts]


class _Heard:
    """A backend, and what it answered last."""

    outputs: Any = None

    def __init__(self, backend: Backend):
        self._backend = backend

    def __call__(self, **inputs: Any) -> Any:
        self.outputs = self._backend(**inputs)
        return self.outputs

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        return self._backend.generate(batch, processor)


class _Written:
    """In the place of a model that writes: what it has written."""

    def __init__(self, texts: Sequence[str]):
        self._texts = [*texts]

    def __call__(self, **inputs: Any) -> Any:
        raise TypeError("a task that writes asks for outputs")

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        return self._texts
