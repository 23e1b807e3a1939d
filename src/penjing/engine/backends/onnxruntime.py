"""ONNX Runtime on the processor: an engine of quantized artefacts."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import torch

from penjing.core.contracts import Batch, Task
from penjing.core.errors import ModelError, need
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine.backends import only_torch, require_wide_sums
from penjing.engine.pieces import Arrays, in_pieces

library = partial(need, "onnxruntime", "onnx")
"""() -> the engine, imported; raises MissingExtra where it is not installed."""


class OnnxRuntimeBackend:
    """Sessions over model.onnx; inputs that the graph does not take (token types of a model without them) are left out.

    Rows are computed in pieces, each by one thread of a session that has no others: MiniLM in int8, 32 sentences, 4 threads, took 53 ms
    whole, 29 in pieces of a session with four threads, and a fifth less so. The logits are the same to the bit. A row that is alone gets
    all threads, of a second session, opened when it is first needed; they do not spin, which would take the processor from others.
    """

    def __init__(self, path: str, threads: int | None, precision: str):
        self._path, self._threads = path, threads or torch.get_num_threads()
        self.session = self._session(1)
        self.takes = {node.name for node in self.session.get_inputs()}
        self.gives = {node.name: node.shape for node in self.session.get_outputs()}
        along = [name for name, shape in self.gives.items() if shape[1:2] == ["sequence"]]
        each = map if self._threads == 1 else ThreadPoolExecutor(self._threads).map
        self._whole = partial(in_pieces, self._run, along=along, each=each, threads=self._threads)
        self.name = f"onnxruntime {precision}"

    def __call__(self, **inputs: Any) -> Any:
        given = {name: value.numpy() for name, value in inputs.items() if name in self.takes}
        found = self._run(given, self._alone) if len(next(iter(given.values()))) == 1 else self._whole(given)
        return SimpleNamespace(**{name: torch.from_numpy(value) for name, value in found.items()})

    @cached_property
    def _alone(self) -> Any:
        return self.session if self._threads == 1 else self._session(self._threads)

    def _run(self, inputs: Arrays, session: Any = None) -> Arrays:
        return dict(zip(self.gives, (session or self.session).run(list(self.gives), inputs)))

    def _session(self, threads: int) -> Any:
        runtime = library()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return runtime.InferenceSession(self._path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, one for each kind of damage
            raise ModelError(
                f"{self._path}: onnxruntime cannot open it: {error}", fix="make the artefact again with penjing quantize"
            ) from error

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        only_torch("onnxruntime")


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> OnnxRuntimeBackend:
    """Open model.onnx; needs no torch module."""
    require_wide_sums(base)
    return OnnxRuntimeBackend(str(base.path / "model.onnx"), threads or runtime.threads, base.meta.get("precision", "fp32"))
