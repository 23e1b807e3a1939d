"""ONNX Runtime on the processor: an engine of quantized artefacts."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
    """A session over model.onnx; inputs that the graph does not take (token types of a model without them) are left out.

    Rows are computed in pieces, which took MiniLM in int8 from 53 to 29 ms for 32 sentences on 4 threads, with the same logits to the bit.
    The session's own threads do not spin: they would take the processor from the pieces, and serve only a row that is alone.
    """

    def __init__(self, path: str, threads: int | None, precision: str):
        runtime, threads = library(), threads or torch.get_num_threads()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, one for each kind of damage
            raise ModelError(f"{path}: onnxruntime cannot open it: {error}", fix="make the artefact again with penjing quantize") from error
        self.takes = {node.name for node in self.session.get_inputs()}
        self.gives = {node.name: node.shape for node in self.session.get_outputs()}
        along = [name for name, shape in self.gives.items() if shape[1:2] == ["sequence"]]
        self.whole = partial(in_pieces, self._run, along=along, pool=ThreadPoolExecutor(threads), threads=threads)
        self.name = f"onnxruntime {precision}"

    def __call__(self, **inputs: Any) -> Any:
        found = self.whole({name: value.numpy() for name, value in inputs.items() if name in self.takes})
        return SimpleNamespace(**{name: torch.from_numpy(value) for name, value in found.items()})

    def _run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self.gives, self.session.run(list(self.gives), inputs)))

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        only_torch("onnxruntime")


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> OnnxRuntimeBackend:
    """Open model.onnx; needs no torch module."""
    require_wide_sums(base)
    return OnnxRuntimeBackend(str(base.path / "model.onnx"), threads or runtime.threads, base.meta.get("precision", "fp32"))
