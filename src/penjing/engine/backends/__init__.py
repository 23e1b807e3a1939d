"""What runs a model directory: one file an engine, found by the name that penjing.json gives.

A backend module has `open(base, task, runtime, threads, generation) -> Backend`, and `library()`, which imports its engine or raises
MissingExtra.
"""

from typing import NoReturn, Protocol

from transformers import PreTrainedModel

from penjing.core.contracts import Model, Task
from penjing.core.errors import MissingExtra, ModelError
from penjing.core.find import find
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime, processor


class Backend(Model, Protocol):
    """What the engine has opened.

    name      the engine with its arithmetic, as cards print it: "onnxruntime int8"
    model     what `generate` of transformers writes with; None where the engine, or the artefact, computes outputs and nothing more
    threads   that it computes on; None for as many as torch has
    """

    name: str
    model: PreTrainedModel | None
    threads: int | None


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


def require_wide_sums(base: ModelDir) -> None:
    """Raise ModelError for an artefact whose answers would be wrong here: its 8-bit products overflow the sums of this processor."""
    if not base.meta.get("wide_sums") or {"avx512_vnni", "avx_vnni"} & {*processor()["instructions"]}:
        return
    from penjing.methods.quantize import _graph  # 3 s

    if _graph.overflows():
        raise ModelError(
            f"{base} was made on a processor that adds products of 8-bit numbers in 32 bits; {processor()['processor']} cuts such sums, "
            "and its answers would be wrong",
            wanted="an artefact made on this machine, which gets weights of 7 bits",
            fix="penjing quantize what it was made from, here",
        )


def cannot_write(engine: str) -> NoReturn:
    """Raise the ModelError of an artefact that computes outputs and writes nothing."""
    problem, wanted = f"this artefact of {engine} does not write token by token", "a model of torch, or a decoder made for onnxruntime"
    raise ModelError(problem, wanted=wanted, fix="use the model that this one was made from")
