"""ONNX Runtime on the processor: an engine of quantized artefacts."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from types import SimpleNamespace
from typing import Any

import torch
from transformers import AutoConfig, GenerationConfig

from penjing.core.contracts import Batch, Task
from penjing.core.errors import ModelError, need
from penjing.core.generation import PRESENT, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine.backends import cannot_write, require_wide_sums
from penjing.engine.generate import generate
from penjing.engine.graph_decoder import GraphDecoder, from_nothing
from penjing.engine.pieces import Arrays, in_pieces

library = partial(need, "onnxruntime", "onnx")
"""() -> the engine, imported; raises MissingExtra where it is not installed."""


class OnnxRuntimeBackend:
    """Sessions over model.onnx; inputs that the graph does not take (token types of a model without them) are left out.

    Rows are computed in pieces, each by one thread of a session that has no others: MiniLM in int8, 32 sentences, 4 threads, took 53 ms
    whole, 29 in pieces of a session with four threads, and a fifth less so. The logits are the same to the bit. A row that is alone gets
    all threads, of a second session, opened when it is first needed; they do not spin, which would take the processor from others.
    """

    model: GraphDecoder | None = None

    def __init__(self, path: str, threads: int | None, precision: str):
        self._path, self.threads = path, threads or torch.get_num_threads()
        self.session = self._session(1)
        self._entries = self.session.get_inputs()
        self.takes = {node.name for node in self._entries}
        self.gives = {node.name: node.shape for node in self.session.get_outputs() if not node.name.startswith(PRESENT)}
        along = [name for name, shape in self.gives.items() if shape[1:2] == ["sequence"]]
        each = map if self.threads == 1 else ThreadPoolExecutor(self.threads).map
        self._whole = partial(in_pieces, self._run, along=along, each=each, threads=self.threads)
        self.name = f"onnxruntime {precision}"

    def __call__(self, **inputs: Any) -> Any:
        given = {name: value.numpy() for name, value in inputs.items() if name in self.takes}
        found = self._run(given, self._alone) if len(next(iter(given.values()))) == 1 else self._whole(given)
        return SimpleNamespace(**{name: torch.from_numpy(value) for name, value in found.items()})

    @cached_property
    def _alone(self) -> Any:
        return self.session if self.threads == 1 else self._session(self.threads)

    def _run(self, inputs: Arrays, session: Any = None) -> Arrays:
        return dict(zip(self.gives, (session or self.session).run(list(self.gives), from_nothing(self._entries, inputs))))

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

    def writing(self, base: ModelDir, generation: Generation, seed: int) -> "OnnxRuntimeBackend":
        """The same, able to write as a directory's settings and `generation` have it, with draws from a seed."""
        names = [node.name for node in self.session.get_outputs()]

        def run(inputs: Arrays) -> Arrays:
            return dict(zip(names, self._alone.run(names, from_nothing(self._entries, inputs))))

        config, settings = AutoConfig.from_pretrained(base.path), GenerationConfig.from_pretrained(base.path)
        self.model, self.generation, self.seed = GraphDecoder(config, settings, run, names[1:]), generation, seed
        return self

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        if self.model is None:
            cannot_write("onnxruntime")
        return generate(self.model, batch, processor, self.generation, self.seed)


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> OnnxRuntimeBackend:
    """Open model.onnx; needs no torch module."""
    require_wide_sums(base)
    backend = OnnxRuntimeBackend(str(base.path / "model.onnx"), threads or runtime.threads, base.meta.get("precision", "fp32"))
    return backend.writing(base, generation, runtime.seed) if base.writes else backend
