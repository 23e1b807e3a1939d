"""How much a model drops out while it learns, in whatever way its family holds that: modules, numbers beside them, its config."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedConfig, PreTrainedModel

from penjing.core.errors import ModelError
from penjing.methods.finetune.lora import UPDATES

_NAMED = re.compile(r"dropout|pdrop|attn_drop")  # as modeling files of transformers 5.23 call it; not layerdrop, not drop_path


def require_dropout(model: PreTrainedModel) -> None:
    """Raise ModelError for a model that drops nothing out."""
    if not _places(model):
        kind = model.config.model_type
        raise ModelError(f"--dropout is not for a model of type {kind}, which drops nothing out", wanted="none", fix="leave --dropout out")


@contextmanager
def dropping(model: PreTrainedModel, share: float | None) -> Iterator[None]:
    """Every dropout of `model` drops `share` while the body runs, its own again afterwards; None changes nothing.

    That of LoRA's updates has an option of its own and stays.
    """
    places = [] if share is None else _places(model)
    own = [(held, name, held[name]) for held, name in places]
    try:
        for held, name in places:
            held[name] = share
        yield
    finally:
        for held, name, value in own:
            held[name] = value


def _places(model: nn.Module) -> list[tuple[dict[str, Any], str]]:
    """(attributes, name) wherever a dropout's share stands; a config is there because some models read it in each forward pass."""
    modules = [module for path, module in model.named_modules() if UPDATES not in f".{path}."]
    configs = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, PreTrainedConfig)}
    layers = [(vars(module), "p") for module in modules if isinstance(module, _DropoutNd)]
    others = [vars(holder) for holder in (*modules, *configs.values())]
    return layers + [(held, name) for held in others for name, value in held.items() if _NAMED.search(name) and _is_share(value)]


def _is_share(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < 1
