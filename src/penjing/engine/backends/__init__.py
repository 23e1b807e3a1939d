"""What runs a model directory: one file an engine, found by the name that penjing.json gives.

A backend module has `open(base, task, runtime, threads) -> Backend`, and `library()`, which imports its engine or raises MissingExtra.
"""

from typing import Any, Protocol

from penjing.core.contracts import Task
from penjing.core.errors import MissingExtra
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime


class Backend(Protocol):
    """A model that answers. `name` is the engine with its arithmetic, as cards print it: "onnxruntime int8"."""

    name: str

    def __call__(self, **inputs: Any) -> Any:
        """Outputs as the task reads them (`.logits`), computed without gradients."""
        ...


def require(engine: str) -> str:
    """The name of an engine that is installed.

    Raises MissingExtra where it is not.
    """
    find("engine.backends", engine).library()
    return engine


def installed(engine: str) -> bool:
    """Whether this Python has the engine's library."""
    try:
        require(engine)
    except MissingExtra:
        return False
    return True


def open_backend(base: ModelDir, task: Task, runtime: Runtime, threads: int | None = None) -> Backend:
    """Open a directory with the engine it was made for, at `threads` threads (None: what the runtime says)."""
    return find("engine.backends", base.engine).open(base, task, runtime, threads)
