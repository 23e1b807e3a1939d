"""What runs a model directory: one file an engine, found by the name that penjing.json gives.

A backend module has `open(base, task, runtime, threads, generation) -> Backend`, and `library()`, which imports its engine or raises
MissingExtra.
"""

from typing import NoReturn, Protocol

from penjing.core.contracts import Model, Task
from penjing.core.errors import MissingExtra, ModelError
from penjing.core.find import find
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime


class Backend(Model, Protocol):
    """`name` is the engine with its arithmetic, as cards print it: "onnxruntime int8"."""

    name: str


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


def open_backend(base: ModelDir, task: Task, runtime: Runtime, threads: int | None = None, generation: Generation = OWN) -> Backend:
    """Open a directory with the engine it was made for, at `threads` threads (None: what the runtime says).

    generation   how it writes, where that is not as its own settings have it
    """
    return find("engine.backends", base.engine).open(base, task, runtime, threads, generation)


def only_torch(engine: str) -> NoReturn:
    """Raise the ModelError of an engine that computes outputs and writes nothing."""
    raise ModelError(f"{engine} does not write token by token", wanted="a model of torch", fix="use the model that this one was made from")
