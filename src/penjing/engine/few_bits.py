"""Models whose weights are stored in few bits, in the form of compressed-tensors, as torch runs them.

transformers leaves them packed until the first forward pass, and then unpacks all at once. Here each layer is unpacked for its own turn
alone, so that a model is never larger in memory than its file and one layer.
"""

import contextlib
import io
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from penjing.maths import few_bits

PACKED = "pack-quantized"


def is_packed(config: dict[str, Any]) -> bool:
    """Whether a config.json says that weights of layers are packed so."""
    return bool((config.get("quantization_config") or {}).get("format") == PACKED)


def precision(config: dict[str, Any]) -> str | None:
    """The bits of its layers as a card names them, "int4 weights"; None where none are packed."""
    if not is_packed(config):
        return None
    bits = sorted({scheme["weights"]["num_bits"] for scheme in config["quantization_config"]["config_groups"].values()})
    return f"int{'/'.join(map(str, bits))} weights"


def suited(inputs: Mapping[str, Tensor], model: PreTrainedModel) -> dict[str, Tensor]:
    """Inputs on the device of the model, pixels and sounds in the dtype that it calculates in."""
    return {name: value.to(model.device, model.dtype if value.is_floating_point() else None) for name, value in inputs.items()}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars of compressed-tensors, which has no switch for them."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def keep_packed(model: PreTrainedModel) -> None:
    """Let the layers of a model that was just loaded unpack themselves, each time they are called, and nothing before."""
    _quantizer(model).compressor.remove_decompression_hook(model)
    for _, layer in _layers(model):
        layer.__dict__.pop("forward")  # of compressed-tensors; it holds the layer, which would outlast its model
        layer.__class__ = _Packed


def unpack(model: PreTrainedModel) -> None:
    """Make it a plain model, of the weights that it stands for, in the dtype it was loaded in: to train or to change it."""
    _quantizer(model).compressor.remove_decompression_hook(model)
    for path, layer in _layers(model):
        plain = nn.Linear(1, 1, bias=layer.bias is not None)
        plain.in_features, plain.out_features = layer.in_features, layer.out_features
        plain.weight, plain.bias = nn.Parameter(_weight(layer)), layer.bias
        model.set_submodule(path, plain)
    _quantizer(model).remove_quantization_config(model)


def _quantizer(model: Any) -> Any:
    return model.hf_quantizer


def _layers(model: nn.Module) -> list[tuple[str, Any]]:
    return [(path, module) for path, module in model.named_modules() if "weight_packed" in module._parameters]


class _Packed(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, _weight(self), self.bias)


def _weight(layer: Any) -> Tensor:
    bits = layer.quantization_scheme.weights.num_bits
    return few_bits.restored(few_bits.unpacked(layer.weight_packed, bits, layer.in_features), layer.weight_scale)
