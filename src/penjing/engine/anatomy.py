"""Where the parts of a model are, found by their shape, so that a method for Transformers needs no list of model names.

Blocks are the list of modules that is as long as the config says, one of an encoder and one of a decoder where there are both; the
feed-forward part of a block is the linears that widen the hidden size and the one that narrows it again. A family that is built otherwise
says so itself (`channel_groups` in its file).
"""

import contextlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel

from penjing.core import find
from penjing.core.contracts import Anatomy, ChannelGroup

DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim", "d_ff")
PROJECTIONS = (  # the last words of the paths of what makes queries, keys and values and of what reads the heads, family by family
    ("query", "key", "value", "attention.output.dense"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("q", "k", "v", "o"),
)
STACKS = {  # of a model that has two: config entries that say how many blocks each has -> the path it stands in, how wide they are
    "encoder_layers": ("encoder", "encoder_ffn_dim"),
    "decoder_layers": ("decoder", "decoder_ffn_dim"),
    "num_layers": ("encoder", "d_ff"),
    "num_decoder_layers": ("decoder", "d_ff"),
}


def anatomy(model: PreTrainedModel) -> Anatomy:
    """The roles of the modules of a transformers model; roles it does not have stay empty."""
    known = model.config.to_dict()
    groups = _channel_groups(model)
    stacks = _stacks(model, known, alone=bool(groups))
    blocks = tuple(path for stack in stacks for path in stack.blocks)
    head = _head(model, blocks)
    if groups or not blocks:
        return Anatomy(blocks=blocks, channels=groups, head=head)
    widths = [known.get(stack.width, 0) for stack in stacks]
    parts = tuple(
        _feed_forward(model, path, model.config.hidden_size, width) for stack, width in zip(stacks, widths) for path in stack.blocks
    )
    attention = tuple(_attention(model, path) for path in blocks)
    return Anatomy(
        embedding=next((n for n, m in model.named_modules() if isinstance(m, nn.Embedding)), None),
        blocks=blocks,
        linears=tuple(tuple(name for name, _ in _linears(model, path)) for path in blocks),
        feed_forward=parts if all(widen and narrow for widen, narrow in parts) and len(set(widths)) == 1 else (),
        attention=tuple(each for each in attention if each) if all(attention) else (),
        head=head,
        depth={stack.depth: stack.blocks for stack in stacks if stack.depth},
        width=tuple(dict.fromkeys(stack.width for stack in stacks if stack.width)),
    )


class _Stack(NamedTuple):
    """Blocks in a row, and the config entries that say how many and how wide; empty where there is none."""

    depth: str
    width: str
    blocks: tuple[str, ...]


def _stacks(model: PreTrainedModel, known: dict[str, Any], alone: bool) -> list[_Stack]:
    """An encoder's and a decoder's blocks, or those of a model that is but one; none that could not be found.

    alone   whether it is known that the blocks stand in one list, the longest
    """
    if model.config.is_encoder_decoder and not alone:
        there = [(name, *STACKS[name]) for name in STACKS if known.get(name)]
        found = [_Stack(name, width, _blocks(model, known[name], part)) for name, part, width in there]
    else:
        depth = next((name for name in DEPTHS if name in known), "")
        width = next((name for name in WIDTHS if isinstance(known.get(name), int)), "")
        found = [_Stack(depth, width, _blocks(model, None if alone else known.get(depth, 0)))]
    return [stack for stack in found if stack.blocks]


def _blocks(model: nn.Module, wanted: int | None, part: str | None = None) -> tuple[str, ...]:
    """Paths of the blocks: the list of `wanted` modules in the part of this name, or the longest list where None is wanted."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    inside = [(name, module) for name, module in lists if part is None or part in name.split(".")]
    fitting = sorted(inside, key=lambda pair: -len(pair[1])) if wanted is None else [pair for pair in inside if len(pair[1]) == wanted]
    name, blocks = next(iter(fitting), ("", ()))
    return tuple(f"{name}.{i}" for i in range(len(blocks)))


def _head(model: PreTrainedModel, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of what stands above the body, with the pooler that transformers counts to the body.

    The body ends with the module that transformers names as such, else with the one that holds the blocks, else with the largest.
    """
    bodies = AutoModel._model_mapping
    if type(model.config) in bodies and type(model) is bodies[type(model.config)]:
        return ()
    children = dict(model.named_children())
    body = blocks[-1].split(".")[0] if blocks else max(children, key=lambda name: sum(p.numel() for p in children[name].parameters()))
    body = model.base_model_prefix if model.base_model_prefix in children else body
    poolers = [f"{body}.pooler"] if dict(children[body].named_children()).get("pooler") else []
    head = (*poolers, *list(children)[list(children).index(body) + 1 :])
    has_own = any(name.startswith(f"{path}.") for name, _ in model.named_parameters() for path in head)
    return head if has_own else ()  # what reads tokens by their embeddings is no part of its own


def _feed_forward(model: nn.Module, block: str, hidden: int, width: int) -> tuple[tuple[str, ...], str]:
    linears = _linears(model, block)
    widen = tuple(name for name, m in linears if m.in_features == hidden and m.out_features == width)
    narrow = next((name for name, m in linears if m.in_features == width and m.out_features == hidden and name not in widen), "")
    return widen, narrow


def _attention(model: nn.Module, block: str) -> tuple[str, str, str, str] | None:
    """Paths of the four linears of a block's attention to its own tokens, which comes before any other; None where they are not found."""
    there = [name for name, _ in _linears(model, block)]
    for words in PROJECTIONS:
        found = [next((name for name in there if name.endswith(f".{word}")), None) for word in words]
        if all(found):
            query, key, value, output = map(str, found)
            return query, key, value, output
    return None


def _linears(model: nn.Module, block: str) -> list[tuple[str, nn.Linear]]:
    return [(f"{block}.{n}", m) for n, m in model.get_submodule(block).named_modules() if isinstance(m, nn.Linear)]


def _channel_groups(model: PreTrainedModel) -> tuple[ChannelGroup, ...]:
    own = model.config.model_type.removeprefix("penjing_").replace("_", "-")
    if not model.config.model_type.startswith("penjing_") or own not in find.names("families"):
        return ()
    family = find.find("families", own)
    return tuple(ChannelGroup(**group) for group in family.channel_groups(model)) if "channel_groups" in vars(family) else ()


def with_weights(
    model: PreTrainedModel, changes: dict[str, Any], weights: Mapping[str, torch.Tensor], generation: Any = None
) -> PreTrainedModel:
    """A model of the same class, its config changed, holding exactly these weights: what it is and what its config says cannot part.

    Of a model without memory it has none either, and reads no weights.

    generation   a generation_config, where that changes too
    """
    config = type(model.config).from_dict({**model.config.to_dict(), **changes})
    with torch.device("meta") if model.device.type == "meta" else contextlib.nullcontext():
        smaller = type(model)(config)
    if smaller.device.type != "meta":
        made = {name: value for name, value in smaller.state_dict().items() if name in (smaller._keys_to_ignore_on_save or ())}
        smaller.load_state_dict({**weights, **made}, strict=True)  # what is not saved, sines of positions, is what the config makes of it
    if model.can_generate():
        smaller.generation_config = generation or model.generation_config
    smaller.to(next(model.parameters()).device)  # type: ignore[arg-type]  # its stub is wrapped wrongly
    return smaller.eval()
