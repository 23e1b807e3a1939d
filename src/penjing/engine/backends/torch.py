"""PyTorch in eager mode, in the precision that the weights are stored in."""

from types import ModuleType
from typing import Any

import torch

from penjing.core.contracts import Task
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine.load import load_model
from penjing.engine.threads import torch_threads


def library() -> ModuleType:
    """The engine, which is always installed."""
    return torch


class TorchBackend:
    """A torch module that answers without gradients, in evaluation mode."""

    def __init__(self, model: torch.nn.Module, threads: int | None = None):
        self.model, self.threads = model.eval(), threads
        dtype = next(model.parameters()).dtype
        self.name = "torch " + {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, str(dtype))

    @torch.inference_mode()
    def __call__(self, **inputs: Any) -> Any:
        device = next(self.model.parameters()).device
        with torch_threads(self.threads):
            return self.model(**{name: value.to(device) for name, value in inputs.items()})


def open(base: ModelDir, task: Task, runtime: Runtime, threads: int | None = None) -> TorchBackend:
    """Load the weights as a module."""
    return TorchBackend(load_model(base, task, runtime), threads or runtime.threads)
