"""A model's forward pass as a graph of operations, which runs without the interpreter: threads of a server then compute at once.

MiniLM on single texts, 3 threads on 3 cores: 113 texts a second in eager mode, where they wait for one another, 226 as graphs.

Linear layers are packed: their weights lie as oneDNN's kernels read them, which else would have to be put so in each call, for a few tokens
as long as their product takes.
"""

import copy
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

ROUNDING = 1e-4, 1e-5  # relative, absolute: sums in another order
FEW, STEP = 64, 16  # tokens that packed weights are worth it for, padded to a multiple: each number of them has its own kernel
_scripted = functools.cache(torch.jit.script)


def _linear(x: Tensor, packed: Tensor, weight: Tensor, bias: Tensor | None, few: int, step: int) -> Tensor:
    count = x.numel() // x.size(-1)
    if count > few:
        return nn.functional.linear(x, weight, bias)
    padded = nn.functional.pad(x.reshape(count, -1), [0, 0, 0, -count % step])
    found = torch.ops.mkldnn._linear_pointwise(padded, packed, bias, "none", [], "")[:count]
    return found.reshape(x.shape[:-1] + weight.shape[:1])


class _Packed(nn.Module):
    """A linear layer of fp32 whose weights are packed, beside themselves."""

    packed: Tensor
    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Linear):
        super().__init__()
        self._linear: Any = _scripted(_linear)  # as a trace can hold neither the choice nor the list of scalars
        self.register_buffer("packed", torch.ops.mkldnn._reorder_linear_weight(layer.weight, None))
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        return self._linear(x, self.packed, self.weight, self.bias, FEW, STEP)


def _packed(model: nn.Module) -> nn.Module:
    """A copy of the model that shares its tensors, with packed layers where this build of torch can pack."""
    own = [*model.parameters(), *model.buffers()]
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in own})
    able = torch.backends.mkldnn.is_available()
    for module in [*copied.modules()] if able else []:
        for name, layer in module.named_children():
            if type(layer) is nn.Linear and layer.weight.dtype == torch.float32:
                setattr(module, name, _Packed(layer))
    return copied


class _Whole(nn.Module):
    """A model as a function of tensors, in the order of `names`, to tensors, in that of `gives`."""

    def __init__(self, model: nn.Module, names: Sequence[str]):
        super().__init__()
        self.model, self.names = model, names
        self.kind: Callable[..., Any] = ModelOutput
        self.gives: list[str] = []

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(**dict(zip(self.names, values)))
        self.kind, self.gives = type(outputs), [*outputs]
        return tuple(outputs.values())


@torch.inference_mode()
def traced(model: nn.Module, inputs: Sequence[Mapping[str, Tensor]]) -> Callable[..., Any] | None:
    """The forward pass of `model` for inputs of these names and any shape; None where a graph of it gives anything else, or there is none.

    inputs   batches of several shapes: the graph is made of the first, and must give what the model gives for all, up to rounding
    """
    names = [*inputs[0]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of branches that it takes for settled, which are looked for below
        try:
            whole = _Whole(_packed(model), names)
            graph = torch.jit.trace(whole, (*inputs[0].values(),), check_trace=False)

            def forward(**given: Tensor) -> Any:
                return whole.kind(**dict(zip(whole.gives, graph(*(given[name] for name in names)))))

            same = all(_alike(forward(**each), model(**each)) for each in inputs)
        except Exception:  # whatever the code of a model does that no graph can hold
            return None
    return forward if same else None


def _alike(found: Any, true: Any) -> bool:
    return [*found] == [*true] and all(torch.allclose(a, b, *ROUNDING) for a, b in zip(found.values(), true.values()))
