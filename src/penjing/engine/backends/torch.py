"""PyTorch in eager mode, in the precision that the weights are stored in."""

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from transformers import PreTrainedModel

from penjing.core.contracts import Batch, Task
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import few_bits
from penjing.engine.batches import on_device
from penjing.engine.generate import generate
from penjing.engine.load import PRECISIONS, load_model
from penjing.engine.threads import torch_threads
from penjing.engine.traced import traced

SOON_S = 0.05  # an answer that takes longer on one thread is worth more of them


def library() -> ModuleType:
    """The engine, which is always installed."""
    return torch


class TorchBackend:
    """A torch module that answers without gradients, in evaluation mode.

    generation   how it writes, where that is not as its own settings have it
    seed         of what it draws in writing
    """

    def __init__(self, model: PreTrainedModel, threads: int | None = None, generation: Generation = OWN, seed: int = 0):
        self.model, self.threads, self.generation, self.seed = model.eval(), threads, generation, seed
        dtype = PRECISIONS.get(model.dtype, str(model.dtype))
        self._graph: Callable[..., Any] | None = None
        self._takes: list[str] = []
        few = few_bits.precision(model.config.to_dict())
        self.name = f"torch {dtype}" if few is None else f"torch {few}, {dtype}"

    @torch.inference_mode()
    def __call__(self, **inputs: Any) -> Any:
        with torch_threads(self.threads):
            suited = few_bits.suited(inputs, self.model)
            return self._graph(**suited) if self._graph and [*suited] == self._takes else self.model(**suited)

    def trace(self, inputs: Sequence[Mapping[str, torch.Tensor]]) -> bool:
        """Compute without the interpreter from now on, on one thread for each who asks; false where the model, or its pace, forbids it.

        inputs   batches of several shapes, those of one row first
        """
        suited = [few_bits.suited(each, self.model) for each in inputs]
        with torch_threads(1):
            graph = traced(self.model, suited)
            if graph is None or _seconds(graph, suited[0]) > SOON_S:
                return False
        self._graph, self._takes, self.threads = graph, [*suited[0]], 1
        return True

    @torch.inference_mode()
    def generate(self, batch: Batch, processor: Any) -> list[str]:
        """What it writes for each entry of a batch."""
        with torch_threads(self.threads):
            return generate(self.model, on_device(batch, self.model.device), processor, self.generation, self.seed)


@torch.inference_mode()
def _seconds(forward: Callable[..., Any], inputs: Mapping[str, torch.Tensor]) -> float:
    """The median of a few calls."""
    moments = [time.perf_counter()]
    for _ in range(5):
        forward(**inputs)
        moments.append(time.perf_counter())
    return statistics.median(b - a for a, b in itertools.pairwise(moments))


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> TorchBackend:
    """Load the weights as a module."""
    return TorchBackend(load_model(base, task, runtime, as_stored=True), threads or runtime.threads, generation, runtime.seed)
