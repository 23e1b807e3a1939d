"""Which dimensions of which tensors count the heads and the hidden width: found by building the model with twice as many of them.

Nothing is allocated, as the larger model is built on torch's meta device. Where anything in it is not explained (a convolution in groups,
an attention built in a way of its own), the width is not told.
"""

import dataclasses
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from penjing.core.contracts import Anatomy, Units
from penjing.engine.anatomy import PROJECTIONS, anatomy
from penjing.engine.load import quiet_transformers

FUSED = (("attn.Wqkv", "attn.Wo"), ("attn.c_attn", "attn.c_proj"))  # one module makes queries, keys and values, one after the other
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads", "decoder_attention_heads")
GROUPS = "num_key_value_heads"  # heads that share keys and values go together
ALIKE = ("embedding_size", "pooler_output_size", "word_embed_proj_dim")  # entries that change with the width where they are as large
INNER = ("n_inner", "intermediate_size")  # four times the width where they are None

Places = dict[str, set[int]]  # tensor name -> the dimensions meant


def dissected(model: PreTrainedModel) -> Anatomy:
    """The anatomy of a model, with its heads and its hidden width where they can be told."""
    parts, known = anatomy(model), model.config.to_dict()
    entry = _entry(model, "hidden_size")
    width = known.get(entry)
    heads = _heads(model, parts)
    if heads is None or not isinstance(width, int):
        return parts
    places = {name: {dimension} for _, tensors in heads.sets for name, dimension in tensors}
    doubled = {name: 2 * known[name] for name in heads.settings}
    heads = dataclasses.replace(heads, free=_larger(model, {**doubled, **heads.fixed}) == places)
    entries = [entry, *(name for name in ALIKE if known.get(name) == width)]
    inner = {name: 4 * width for name in INNER if name in known and known[name] is None}
    inner |= {name: known[name] for name in ALIKE if isinstance(known.get(name), int) and known[name] != width}
    wide = {**dict.fromkeys(entries, 2 * width), **inner}
    wider = _larger(model, {**wide, **heads.fixed})
    free = wider is not None and not any(wider.get(name, set()) & dims for name, dims in places.items())
    tensors = _residual(model, parts, wider if free else _larger(model, {**wide, **doubled}), {} if free else places, width)
    fixed = {**inner, **(heads.fixed if free else {})}
    hidden = Units(dict.fromkeys(entries, 1), width, (("", tensors),), fixed=fixed, free=free) if tensors else Units()
    return dataclasses.replace(parts, heads=heads, hidden=hidden)


def _heads(model: PreTrainedModel, parts: Anatomy) -> Units | None:
    """The heads of every attention of every block; None where a block has none that is built in a known way, or where these differ."""
    known = model.config.to_dict()
    counts = {name: known[name] for name in HEADS if isinstance(known.get(name), int)}
    found = [_attentions(model, block) for block in parts.blocks]
    if len({*counts.values()}) != 1 or not all(found) or not found:
        return None
    (num_heads,) = {*counts.values()}
    num_groups = known[GROUPS] if isinstance(known.get(GROUPS), int) else num_heads
    sets, repeat, sizes = [], dict[str, int](), set()
    for makers, output in (each for block in found for each in block):
        shares = (num_heads, num_groups, num_groups) if len(makers) == 3 else (3 * num_heads,)
        size = _features(model, makers[0])[1] // shares[0]
        wanted = [share * size for share in shares]
        built = [_features(model, path)[1] for path in makers] == wanted and _features(model, output)[0] == num_heads * size
        sizes.add(size if built and (len(makers) == 3 or num_groups == num_heads) else 0)
        tensors = []
        for path, times in zip((*makers, output), (num_heads // num_groups, 1, 1, num_heads // num_groups) if len(makers) == 3 else (1, 1)):
            there = [("weight", _output_dimension(model, path) ^ (path == output))]
            there += [("bias", 0)] if path != output and model.get_submodule(path).bias is not None else []
            tensors += [(f"{path}.{name}", dimension) for name, dimension in there]
            repeat |= {f"{path}.{name}": times * size for name, _ in there}
        sets.append((output, tuple(tensors)))
    if len(sizes) != 1 or 0 in sizes:
        return None
    settings = dict.fromkeys(counts, num_heads // num_groups) | ({GROUPS: 1} if isinstance(known.get(GROUPS), int) else {})
    return Units(settings, num_groups, tuple(sets), repeat, {_entry(model, "head_dim"): sizes.pop()})


def _attentions(model: nn.Module, block: str) -> list[tuple[tuple[str, ...], str]]:
    """Paths of what makes queries, keys and values, and of what reads the heads, for each attention of a block."""
    there = [f"{block}.{name}" for name, module in model.get_submodule(block).named_modules() if isinstance(module, nn.Linear | Conv1D)]
    for words in (*PROJECTIONS, *FUSED):
        found = [[name for name in there if name.endswith(f".{word}")] for word in words]
        if all(found) and len({*map(len, found)}) == 1:
            return [(tuple(makers), output) for *makers, output in zip(*found)]
    return []


def _residual(
    model: PreTrainedModel, parts: Anatomy, wider: Places | None, heads: Places, width: int
) -> tuple[tuple[str, int], ...]:  # fmt: skip
    """Every place where the channels of the residual stream are counted; empty where one of them cannot be told from something else.

    wider   the dimensions that a larger width makes larger
    heads   those of them that count heads
    """
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if wider is None or any(not dims <= wider.get(name, set()) for name, dims in heads.items()):
        return ()
    left = {name: dims - heads.get(name, set()) for name, dims in wider.items()}
    for name, dims in left.items():
        inside = any(name.startswith(f"{block}.") for block in parts.blocks)
        if any(shapes[name][dimension] != width for dimension in dims) or (inside and len(dims) > 1):
            return ()
    return tuple((name, dimension) for name, dims in left.items() for dimension in sorted(dims))


def _larger(model: PreTrainedModel, changes: dict[str, Any]) -> Places | None:
    """Which dimensions are twice as long in a model with a changed config; None where it cannot be built, or differs in another way."""
    try:
        config = type(model.config).from_dict({**model.config.to_dict(), **changes})
        with torch.device("meta"), quiet_transformers():
            other = type(model)(config).state_dict()
    except (ValueError, RuntimeError, StrictDataclassError):
        return None
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    if other.keys() != shapes.keys() or any(len(shapes[name]) != other[name].ndim for name in shapes):
        return None
    pairs = {name: [*zip(shape, other[name].shape)] for name, shape in shapes.items()}
    if any(new not in (old, 2 * old) for pair in pairs.values() for old, new in pair):
        return None
    found = {name: {number for number, (old, new) in enumerate(pair) if new != old} for name, pair in pairs.items()}
    return {name: dims for name, dims in found.items() if dims}


def _entry(model: PreTrainedModel, name: str) -> str:
    """What the model's own config calls an entry."""
    return model.config.attribute_map.get(name, name)


def _features(model: nn.Module, path: str) -> tuple[int, int]:
    """How many numbers a layer reads, and how many it gives."""
    shape = model.get_parameter(f"{path}.weight").shape
    return (shape[1], shape[0]) if _output_dimension(model, path) == 0 else (shape[0], shape[1])


def _output_dimension(model: nn.Module, path: str) -> int:
    """The dimension of a layer's weight that counts what it gives: GPT-2's are stored the other way round."""
    return 1 if isinstance(model.get_submodule(path), Conv1D) else 0
