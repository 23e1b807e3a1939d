"""ONNX Runtime on the processor: an engine of quantized artefacts."""

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

library = partial(need, "onnxruntime", "onnx")
"""() -> the engine, imported; raises MissingExtra where it is not installed."""


class OnnxRuntimeBackend:
    """A session over model.onnx; inputs that the graph does not take (token types of a model without them) are left out."""

    def __init__(self, path: str, threads: int | None, precision: str):
        runtime = library()
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads or 0, 1, 3
        try:
            self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises its own classes, one for each kind of damage
            raise ModelError(f"{path}: onnxruntime cannot open it: {error}", fix="make the artefact again with penjing quantize") from error
        self.takes = {node.name for node in self.session.get_inputs()}
        self.gives = [node.name for node in self.session.get_outputs()]
        self.name = f"onnxruntime {precision}"

    def __call__(self, **inputs: Any) -> Any:
        feed = {name: value.numpy() for name, value in inputs.items() if name in self.takes}
        return SimpleNamespace(**dict(zip(self.gives, map(torch.from_numpy, self.session.run(self.gives, feed)))))

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        only_torch("onnxruntime")


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> OnnxRuntimeBackend:
    """Open model.onnx; needs no torch module."""
    require_wide_sums(base)
    return OnnxRuntimeBackend(str(base.path / "model.onnx"), threads or runtime.threads, base.meta.get("precision", "fp32"))
