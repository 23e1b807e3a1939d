"""Where the parts of a model are, found by their shape, so that a method for Transformers needs no list of model names.

Blocks are the longest list of modules; the feed-forward part of a block is the linears that widen the hidden size and the one that
narrows it again. A family that is built otherwise says so itself (`channel_groups` in its file).
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
    if groups := _channel_groups(model):
        return Anatomy(channels=groups)
    config, known = model.config, model.config.to_dict()
    depth = next((name for name in DEPTHS if name in known), None)
    width = next((name for name in WIDTHS if isinstance(known.get(name), int)), None)
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    wanted = known[depth] if depth else None
    name, blocks = next(((n, m) for n, m in lists.items() if len(m) == wanted), (None, ()))
    if name is None:
        return Anatomy()
    paths = tuple(f"{name}.{i}" for i in range(len(blocks)))
    parts = tuple(_feed_forward(model, path, config.hidden_size, known[width] if width else 0) for path in paths)
    embedding = next((n for n, m in model.named_modules() if isinstance(m, nn.Embedding)), None)
    return Anatomy(embedding=embedding, blocks=paths, feed_forward=parts if all(p[1] for p in parts) else (), depth=depth, width=width)


def _feed_forward(model: nn.Module, block: str, hidden: int, width: int) -> tuple[tuple[str, ...], str]:
    linears = [(f"{block}.{n}", m) for n, m in model.get_submodule(block).named_modules() if isinstance(m, nn.Linear)]
    widen = tuple(name for name, m in linears if m.in_features == hidden and m.out_features == width)
    narrow = next((name for name, m in linears if m.in_features == width and m.out_features == hidden and name not in widen), "")
    return widen, narrow


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
