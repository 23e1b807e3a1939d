"""What runs a model directory: one file an engine, found by the name that penjing.json gives.

A backend module has `open(base, task, threads, runtime) -> Backend`.
"""

from typing import Any, Protocol

from penjing.core.contracts import Task
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime


class Backend(Protocol):
    """A model that answers. `name` is the engine with its arithmetic, as cards print it: "onnxruntime int8"."""

    name: str

    def __call__(self, **inputs: Any) -> Any:
        """Outputs as the task reads them (`.logits`), computed without gradients."""
        ...


def open_backend(base: ModelDir, task: Task, runtime: Runtime, threads: int | None = None) -> Backend:
    """Open a directory with the engine it was made for, at `threads` threads (None: what the runtime says)."""
    return find("engine.backends", base.engine).open(base, task, runtime, threads)
