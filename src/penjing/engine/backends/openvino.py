"""OpenVINO on the processor: another engine of quantized artefacts."""

from types import SimpleNamespace
from typing import Any

import torch

from penjing.core.contracts import Batch, Task
from penjing.core.errors import ModelError
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.openvino import openvino as library
from penjing.core.runtime import Runtime
from penjing.engine.backends import cannot_write, require_wide_sums

FILE = "openvino_model.xml"


class OpenVinoBackend:
    """A request to the compiled openvino_model.xml; inputs that the graph does not take are left out.

    What is not int8 is computed in fp32 on every processor: left to itself the engine takes bf16 where it can, and logits move by 0.05.
    """

    model = None

    def __init__(self, path: str, threads: int | None, precision: str):
        core, self.threads = library().Core(), threads
        settings = {"INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads or 0, "ENABLE_CPU_PINNING": False}
        try:
            self.request = core.compile_model(path, "CPU", settings).create_infer_request()
        except RuntimeError as error:
            problem = f"{path}: openvino cannot open it: {str(error).strip().splitlines()[-1]}"
            wanted = "openvino_model.xml and openvino_model.bin as they were written"
            raise ModelError(problem, wanted=wanted, fix="make the artefact again with penjing quantize") from error
        compiled = self.request.get_compiled_model()
        self.takes = {port.any_name for port in compiled.inputs}
        self.gives = [port.any_name for port in compiled.outputs]
        self.name = f"openvino {precision}"

    def __call__(self, **inputs: Any) -> Any:
        found = self.request.infer({name: value.numpy() for name, value in inputs.items() if name in self.takes}, share_inputs=True)
        return SimpleNamespace(**{name: torch.from_numpy(found[name]) for name in self.gives})

    def generate(self, batch: Batch, processor: Any) -> list[str]:
        cannot_write("openvino")


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None, generation: Generation) -> OpenVinoBackend:
    """Open openvino_model.xml and the openvino_model.bin beside it; needs no torch module."""
    require_wide_sums(base)
    return OpenVinoBackend(str(base.path / FILE), threads or runtime.threads, base.meta.get("precision", "fp32"))
