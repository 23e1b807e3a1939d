"""In which numbers a training calculates, and the fp32 weights behind those that a forward pass sees.

Source: Micikevicius et al. 2018, "Mixed precision training", sections 3.1 (master weights) and 3.2 (loss scaling)
"""

import copy
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from penjing.core.runtime import Runtime, processor
from penjing.core.training import Training
from penjing.engine.average import holding
from penjing.engine.parallel import Group

BF16_MIN_PARAMETERS = 1_000_000  # below it the casts of a step cost more than its products save
SCALED = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(model: nn.Module, options: Training, runtime: Runtime) -> str:
    """ "fp32", "tf32", "bf16" or "fp16": what was asked for, else what multiplies fastest here and needs no more care.

    auto is bf16 where the hardware multiplies it and the model is large enough to gain; fp16 on GPUs before Ampere.
    """
    if options.precision != "auto":
        return options.precision
    if sum(p.numel() for p in model.parameters()) < BF16_MIN_PARAMETERS:
        return "fp32"
    if runtime.device == "cuda":
        return "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    return "bf16" if {"amx_bf16", "avx512_bf16"} & set(processor()["instructions"]) else "fp32"


def arithmetic(precision: str, device: str) -> Any:
    """A context in which a forward pass calculates so; the loss is fp32 by itself."""
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    return torch.autocast(device, SCALED.get(precision, torch.bfloat16), enabled=precision in SCALED)


class Weights:
    """The numbers that learn, in fp32, and their bf16 images in the model.

    In bf16 the model holds each of its matrices rounded, with its bias, so that no step has to round them again; other vectors stay as they
    are, and so do the tables of embeddings: their gradient is a sum over many tokens, too many for bf16. What a table gives is rounded on
    the way out.

    model      what is trained, the one that was given
    learnt     name -> the fp32 tensor that the optimizer moves; `gather` leaves its gradient there
    masters    name -> the fp32 tensor behind each image, whether it learns or not
    """

    def __init__(self, model: nn.Module, names: Collection[str], precision: str):
        self.model: Any = model
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a convolution is faster so
        kept = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
        products = [module for module in model.modules() if any(p.ndim > 1 for p in module.parameters(recurse=False))]
        rounded = {id(p) for module in products for p in module.parameters(recurse=False)} - kept
        images = {n: p for n, p in model.named_parameters() if precision == "bf16" and id(p) in rounded}
        self.masters = {name: parameter.data for name, parameter in images.items()}
        self.learnt = {name: self.masters.get(name, parameter) for name, parameter in model.named_parameters() if name in names}
        self._moving = [(images[name], self.masters[name]) for name in self.learnt if name in images]
        self._images = [(parameter, self.masters[name]) for name, parameter in images.items()]
        self._hooks = round_tables(model, precision)
        for parameter, master in self._images:
            parameter.data = master.to(torch.bfloat16)

    def gather(self) -> None:
        """Add the gradients of the images to those of the fp32 tensors behind them."""
        for image, master in self._moving:
            if image.grad is not None:
                master.grad = image.grad.float() if master.grad is None else master.grad.add_(image.grad)
                image.grad = None
        for weight in self.learnt.values():
            if weight.grad is not None and weight.grad.is_sparse:
                weight.grad = weight.grad.coalesce()

    def gradients(self) -> list[Tensor]:
        """Those there are, of all that learns; of a sparse one its rows."""
        found = (weight.grad for weight in self.learnt.values() if weight.grad is not None)
        return [gradient.values() if gradient.is_sparse else gradient for gradient in found]

    def sum(self, group: Group) -> None:
        """Add the gradients of all ranks up."""
        group.sum(self.gradients())

    def norm(self, group: Group) -> Tensor:
        """Of the gradients as a whole, once they are added up."""
        return torch.nn.utils.get_total_norm(self.gradients())

    @torch.no_grad()
    def show(self) -> None:
        """Let the images follow what the optimizer has moved."""
        if self._moving:
            torch._foreach_copy_([image.data for image, _ in self._moving], [master for _, master in self._moving])

    def settled(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Within it the model holds what is measured and kept: fp32 weights, and `values` in the place of some."""
        return holding(self.model, {**self.masters, **values})

    def whole(self) -> dict[str, Tensor] | None:
        """A copy of all weights and buffers as the model holds them."""
        return copy.deepcopy(self.model.state_dict())

    def release(self) -> None:
        """Leave the model as it was, with what it has learnt."""
        for parameter, master in self._images:
            parameter.data = master
        for hook in self._hooks:
            hook.remove()
        self.model.to(memory_format=torch.contiguous_format)


class LossScale:
    """What a loss is multiplied by so that its small gradients do not vanish in fp16; 1 in all other precisions.

    Doubled after 2,000 steps without an overflow, halved at each, whose step is skipped.
    """

    def __init__(self, precision: str):
        self.value, self._good_steps = (65536.0 if precision == "fp16" else 1.0), 0

    def skips(self, norm: Tensor) -> bool:
        """Whether this step must be left out, since its gradient overflowed and a smaller scale may mend that."""
        if self.value <= 1:
            return False
        finite = bool(torch.isfinite(norm))
        self._good_steps = (self._good_steps + 1) % 2000 if finite else 0
        self.value *= 0.5 if not finite else 2.0 if self._good_steps == 0 else 1.0
        return not finite

    def state_dict(self) -> dict[str, float]:
        """All that the next step depends on."""
        return {"value": self.value, "good_steps": self._good_steps}

    def load_state_dict(self, saved: dict[str, float]) -> None:
        """Go on where `state_dict` was taken."""
        self.value, self._good_steps = saved["value"], int(saved["good_steps"])


def round_tables(model: nn.Module, precision: str) -> list[RemovableHandle]:
    """Let the tables of embeddings, which stay fp32, give bf16 where the training is in that; what takes it back."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) and precision == "bf16"]
    return [module.register_forward_hook(_round_while_training) for module in tables]


def _round_while_training(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.to(torch.bfloat16) if torch.is_autocast_enabled(output.device.type) else output
