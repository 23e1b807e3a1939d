"""Where the parts of a model are, found by their shape, so that a method for Transformers needs no list of model names.

Blocks are the list of modules that is as long as the config says; the feed-forward part of a block is the linears that widen the hidden
size and the one that narrows it again. A family that is built otherwise says so itself (`channel_groups` in its file).
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from penjing.core import find
from penjing.core.contracts import Anatomy, ChannelGroup

DEPTHS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
WIDTHS = ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim")


def anatomy(model: PreTrainedModel) -> Anatomy:
    """The roles of the modules of a transformers model; roles it does not have stay empty."""
    known = model.config.to_dict()
    depth = next((name for name in DEPTHS if name in known), None)
    width = next((name for name in WIDTHS if isinstance(known.get(name), int)), None)
    groups = _channel_groups(model)
    blocks = _blocks(model, known[depth] if depth else None, alone=bool(groups))
    head = _head(model, blocks)
    if groups or not blocks:
        return Anatomy(blocks=blocks, channels=groups, head=head)
    parts = tuple(_feed_forward(model, path, model.config.hidden_size, known[width] if width else 0) for path in blocks)
    return Anatomy(
        embedding=next((n for n, m in model.named_modules() if isinstance(m, nn.Embedding)), None),
        blocks=blocks,
        linears=tuple(tuple(name for name, _ in _linears(model, path)) for path in blocks),
        feed_forward=parts if all(p[1] for p in parts) else (),
        head=head,
        depth=depth,
        width=width,
    )


def _blocks(model: nn.Module, wanted: int | None, alone: bool) -> tuple[str, ...]:
    """Paths of the blocks: the list of `wanted` modules, or the longest where it is known that blocks stand in one list `alone`."""
    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    fitting = sorted(lists, key=lambda pair: -len(pair[1])) if alone else [pair for pair in lists if len(pair[1]) == wanted]
    name, blocks = next(iter(fitting), ("", ()))
    return tuple(f"{name}.{i}" for i in range(len(blocks)))


def _head(model: PreTrainedModel, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of what stands above the body, with the pooler that transformers counts to the body.

    The body ends with the module that transformers names as such, else with the one that holds the blocks, else with the largest.
    """
    children = dict(model.named_children())
    body = blocks[0].split(".")[0] if blocks else max(children, key=lambda name: sum(p.numel() for p in children[name].parameters()))
    body = model.base_model_prefix if model.base_model_prefix in children else body
    poolers = [f"{body}.pooler"] if dict(children[body].named_children()).get("pooler") else []
    return (*poolers, *list(children)[list(children).index(body) + 1 :])


def _feed_forward(model: nn.Module, block: str, hidden: int, width: int) -> tuple[tuple[str, ...], str]:
    linears = _linears(model, block)
    widen = tuple(name for name, m in linears if m.in_features == hidden and m.out_features == width)
    narrow = next((name for name, m in linears if m.in_features == width and m.out_features == hidden and name not in widen), "")
    return widen, narrow


def _linears(model: nn.Module, block: str) -> list[tuple[str, nn.Linear]]:
    return [(f"{block}.{n}", m) for n, m in model.get_submodule(block).named_modules() if isinstance(m, nn.Linear)]


def _channel_groups(model: PreTrainedModel) -> tuple[ChannelGroup, ...]:
    own = model.config.model_type.removeprefix("penjing_").replace("_", "-")
    if not model.config.model_type.startswith("penjing_") or own not in find.names("families"):
        return ()
    family = find.find("families", own)
    return tuple(ChannelGroup(**group) for group in family.channel_groups(model)) if "channel_groups" in vars(family) else ()


def with_weights(model: PreTrainedModel, changes: dict[str, Any], weights: dict[str, torch.Tensor]) -> PreTrainedModel:
    """A model of the same class, its config changed, holding exactly these weights: what it is and what its config says cannot part."""
    config = type(model.config).from_dict({**model.config.to_dict(), **changes})
    smaller = type(model)(config)
    smaller.load_state_dict(weights, strict=True)
    smaller.to(next(model.parameters()).device)  # type: ignore[arg-type]  # its stub is wrapped wrongly
    return smaller.eval()
