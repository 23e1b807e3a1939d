"""Gradient checkpointing: what the blocks of a model compute is not kept for the backward pass but computed again there, to the bit.

Kept are what goes into each block and what lies outside of them. Chen, Xu, Zhang, Guestrin 2016, "Training deep nets with sublinear memory
cost", section 4.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from penjing.core.errors import ModelError
from penjing.engine.average import untouched
from penjing.engine.masks import CheapMasks


def require_blocks(model: PreTrainedModel, blocks: tuple[str, ...]) -> None:
    """Raise ModelError for a model without blocks, whose parts cannot be told from each other."""
    if not blocks:
        kind = model.config.model_type
        raise ModelError(
            f"--gradient-checkpointing is for models made of blocks, and one of type {kind} has none that are known",
            wanted="none",
            fix="leave --gradient-checkpointing out; --parts takes less memory too",
        )


@contextmanager
def recomputing(model: PreTrainedModel, blocks: tuple[str, ...], masks: CheapMasks) -> Iterator[None]:
    """A forward pass in the body keeps of each of `blocks` only what goes into it; its backward pass may come after the body.

    masks   that are drawn in the pass: the same are drawn again. On a GPU torch sees to that, and everywhere to the precision
    """
    modules = [model.get_submodule(path) for path in blocks]
    configs = [part.config for part in model.modules() if isinstance(part, PreTrainedModel)] if modules else []
    caching = [config for config in {id(config): config for config in configs}.values() if vars(config).get("use_cache")]
    wrapped = [partial(checkpoint, block.forward, use_reentrant=False, context_fn=partial(_passes, block, masks)) for block in modules]
    try:
        for config in caching:
            config.use_cache = False  # keys and values of the first time must not stand before those of the second
        for block, forward in zip(modules, wrapped):
            block.forward = forward  # type: ignore[method-assign]
        yield
    finally:
        for block in modules:
            del block.forward  # that of its class again
        for config in caching:
            config.use_cache = True


def _passes(block: nn.Module, masks: CheapMasks) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What a block is computed in the first time, and the second."""
    return nullcontext(), _again(block, masks.again())


@contextmanager
def _again(block: nn.Module, masks: CheapMasks) -> Iterator[None]:
    """With the same draws, and on copies of the statistics of norms, which have already seen the batch."""
    with masks, untouched(block):
        yield
