"""What the methods that store weights alone in few bits share: which layers, in how many bits, and how that is written.

The form is "pack-quantized" of compressed-tensors (https://github.com/vllm-project/compressed-tensors), which plain transformers opens with
that one package. transformers 5.23 cannot open a table of embeddings in it (it draws them anew and finds no weight), so these, and heads
that are embeddings too, are stored in 16 bits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from penjing.core.errors import ModelError, need
from penjing.core.options import Between
from penjing.maths import few_bits
from penjing.methods.quantize import Rewriting

SMALL = 2**13  # weights of a layer: below it few bits save less than what stands around them, and the last layer keeps its precision
AT_ONCE = 2**24  # weights in fp32
MOST_TOKENS = 512  # on which layers are compared
HEAD_BITS = 8  # of what makes logits of thousands of tokens, on which every answer depends


@dataclass(frozen=True)
class Options:
    """In how many bits, and how finely scaled."""

    bits: Annotated[Literal[4, 8], "bits of a weight"] = 4
    group: Annotated[
        int, "neighbouring inputs of a layer that share a scale; a layer whose inputs it does not divide has one scale an output",
        Between(8, 2**20),
    ] = 128  # fmt: skip
    high_share: Annotated[float, "share of the weights with 8 bits: in layers that rounding changes most", Between(0, 1)] = 0.0


class Layer(NamedTuple):
    """How a linear layer is stored; `group` is the number of its inputs where each output has one scale."""

    bits: int
    group: int
    inputs: int


class Stored(NamedTuple):
    """A weight (N, K) in few bits: whole numbers (N, K) int8 and scales (N, K / G)."""

    whole: Tensor
    scale: Tensor


def plan(model: nn.Module, settings: Options) -> dict[str, Layer]:
    """Path -> form of every linear layer that is stored in few bits.

    Raises MissingExtra without compressed-tensors, ModelError where there is none.
    """
    need("compressed_tensors", "quant")
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    found = {}
    for path, module in model.named_modules():
        if type(module) is nn.Linear and module.weight.numel() >= SMALL and id(module.weight) not in embeddings:
            bits = max(settings.bits, HEAD_BITS) if module is head else settings.bits
            group = settings.group if module.in_features % settings.group == 0 else module.in_features
            found[path] = Layer(bits, group, module.in_features)
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no layer that few bits would make smaller",
            wanted=f"a linear layer of {SMALL:,} weights or more, which is no table of embeddings",
            fix="penjing quantize --method bf16, or int8 for convolutions",
        )
    return found


def chosen(rewriting: Rewriting, settings: Options) -> dict[str, Layer]:
    """The plan, with 8 bits for the layers whose outputs on the calibration rows rounding changes most, relative to their size."""
    layers, errors = plan(rewriting.model, settings), dict[str, float]()
    if not settings.high_share:
        return layers

    def visit(path: str, weight: Tensor, inputs: Tensor) -> Tensor:
        few = inputs[:: -(-len(inputs) // MOST_TOKENS)]
        true = few @ weight.T
        apart = few @ few_bits.restored(*nearest(weight, layers[path], rewriting.dtype)).T - true
        errors[path] = (apart.square().sum() / true.square().sum().clamp(min=few_bits.TINY)).item()
        return weight

    rewriting.run(visit, layers)
    sizes = {path: rewriting.model.get_submodule(path).weight.numel() for path in layers}  # type: ignore[union-attr,operator]
    room = settings.high_share * sum(sizes.values())
    for path in sorted(errors, key=errors.__getitem__, reverse=True):
        if sizes[path] <= room and layers[path].bits < HEAD_BITS:
            room -= sizes[path]
            layers[path] = layers[path]._replace(bits=HEAD_BITS)
    return layers


def scales(weight: Tensor, layer: Layer, dtype: torch.dtype) -> Tensor:
    """(N, K / G) fp32 of a weight (N, K): numbers that `dtype`, in which they are written, has too."""
    return few_bits.scales(weight, layer.bits, layer.group).to(dtype).float()


def nearest(weight: Tensor, layer: Layer, dtype: torch.dtype) -> Stored:
    """A weight (N, K) rounded to the nearest, some rows at a time: a table of logits takes gigabytes in fp32."""
    parts = []
    for rows in weight.split(max(1, AT_ONCE // weight.shape[1])):
        scale = scales(rows.float(), layer, dtype)
        parts.append(Stored(few_bits.rounded(rows.float(), scale, layer.bits), scale))
    return Stored(*(torch.cat(part) for part in zip(*parts)))


def tensors(stored: Stored, bits: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """A weight as compressed-tensors names its parts."""
    shape = torch.tensor(stored.whole.shape)
    return {"weight_packed": few_bits.packed(stored.whole, bits), "weight_scale": stored.scale.to(dtype), "weight_shape": shape}


def weight_of(written: Mapping[str, Tensor], layer: Layer) -> Tensor:
    """The weight (N, K) fp32 that was written."""
    return few_bits.restored(few_bits.unpacked(written["weight_packed"], layer.bits, layer.inputs), written["weight_scale"].float())


def put(rewriting: Rewriting, path: str, layer: Layer, stored: Stored) -> None:
    """Write a layer, its weight in few bits and the rest as it is."""
    rest = {name: value.to(rewriting.dtype) for name, value in rewriting.take(path).items() if name != "weight"}
    rewriting.put(path, {**tensors(stored, layer.bits, rewriting.dtype), **rest})


def put_rest(rewriting: Rewriting, layers: Mapping[str, Layer]) -> None:
    """Write every module that is not written yet: layers rounded to the nearest, embeddings in 16 bits, all else as it is."""
    for path in rewriting.modules("quantizing"):
        if not rewriting.written(path):
            if path in layers:
                weight = rewriting.take(path)["weight"]
                put(rewriting, path, layers[path], nearest(weight, layers[path], rewriting.dtype))
            else:
                rewriting.put(path, dict(_left(rewriting, path)))


def dtype_of_table(table: Tensor, dtype: torch.dtype) -> torch.dtype:
    """In which a table of embeddings is written, where other tensors are written in `dtype`."""
    return torch.bfloat16 if dtype == torch.float32 and table.numel() >= SMALL else dtype


def _left(rewriting: Rewriting, path: str) -> Iterator[tuple[str, Tensor]]:
    table = isinstance(rewriting.model.get_submodule(path), nn.Embedding)
    for name, value in rewriting.take(path).items():
        dtype = dtype_of_table(value, rewriting.dtype) if table else rewriting.dtype
        yield name, value.to(dtype) if value.is_floating_point() else value


def facts_of(model: nn.Module, layers: Mapping[str, Layer], settings: Options) -> dict[str, Any]:
    """What the card says, and `config`: the entries of config.json that say how the weights are to be read."""
    sizes = {path: model.get_submodule(path).weight.numel() for path in layers}  # type: ignore[union-attr,operator]
    total = sum(p.numel() for p in model.parameters())
    tables = {id(m.weight): m.weight.numel() for m in model.modules() if isinstance(m, nn.Embedding)}
    return {
        "engine": "torch",
        "precision": f"int{settings.bits} weights",
        "bits": settings.bits,
        "group": settings.group,
        "layers": len(layers),
        "packed_share": sum(sizes.values()) / total,
        "embedding_share": sum(tables.values()) / total,
        "one_scale_an_output": [path for path, layer in layers.items() if layer.group != settings.group],
        "more_bits": [path for path, layer in layers.items() if layer.bits > settings.bits],
        "config": {"quantization_config": _config(model, layers, settings.group)},
    }


def _config(model: nn.Module, layers: Mapping[str, Layer], group: int) -> dict[str, Any]:
    """As compressed-tensors reads it: layers of unusual forms by their paths, and then the class Linear."""
    forms = {path: (layer.bits, group if layer.group == group else None) for path, layer in layers.items()}
    usual = max(dict.fromkeys(forms.values()), key=[*forms.values()].count)
    schemes = {form: [path for path in forms if forms[path] == form] for form in dict.fromkeys(forms.values()) if form != usual}
    schemes[usual] = ["Linear"]
    listed = {f"group_{i}": _scheme(*form, targets) for i, (form, targets) in enumerate(schemes.items())}
    ignore = [path for path, module in model.named_modules() if isinstance(module, nn.Linear) and path not in layers]
    head = {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed"}
    return {**head, "config_groups": listed, "ignore": ignore}


def _scheme(bits: int, group: int | None, targets: list[str]) -> dict[str, Any]:
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    return {"targets": targets, "weights": {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False, **strategy}}
