"""Drop whole blocks, keeping the first, the last and those evenly between; of an encoder and a decoder, each its own.

Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT", section 3 (every other layer); Sajjad et al. 2023, "On the effect of dropping layers",
find evenly kept and top-dropped layers about equal after recovery.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller

RECOVERS, LOOKS = True, False
OF_EACH = ("layer_types", "mlp_layer_types", "no_rope_layers")  # config entries that hold a value for each block of an only stack


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[float, "share of the blocks that stays, rounded to whole ones", Between(0.01, 1)] = 0.5


def fits(anatomy: Anatomy) -> bool:
    """Two blocks at least, and a config that says how many."""
    return any(len(blocks) > 1 for blocks in anatomy.depth.values())


def size(config: Any, anatomy: Anatomy, wanted: float) -> int:
    """How many blocks can stay in the deepest stack, nearest to what is wanted."""
    return round(max(1, min(wanted, max(map(len, anatomy.depth.values())))))


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with some of its blocks, renumbered."""
    kept = {entry: kept_blocks(len(blocks), max(1, round(len(blocks) * settings.keep_share))) for entry, blocks in anatomy.depth.items()}
    taken = {anatomy.depth[entry][new]: anatomy.depth[entry][old] for entry, numbers in kept.items() for new, old in enumerate(numbers)}
    sources = {}
    for name in shown.weights:
        block = next((path for path in anatomy.blocks if name.startswith(path + ".")), None)
        if block is None:
            sources[name] = name
        elif block in taken:  # what only the first block has, as the table of distances of T5, stays there
            moved = taken[block] + name.removeprefix(block)
            sources[name] = moved if moved in shown.weights else name
    facts = {"blocks": f"{sum(map(len, kept.values()))} of {len(anatomy.blocks)}", "kept": [*kept.values()]}
    left = {entry: len(numbers) for entry, numbers in kept.items()}
    known, numbers = model.config.to_dict(), next(iter(kept.values()))
    changes = left | {entry: [known[entry][number] for number in numbers] for entry in OF_EACH if known.get(entry)}
    return Smaller(changes, Remaining(shown.weights, sources), facts, share=sum(left.values()) / sum(map(len, anatomy.depth.values())))


def kept_blocks(total: int, num_kept: int) -> list[int]:
    """Numbers of the blocks that stay, evenly spread with both ends; the last alone when only one stays."""
    return [total - 1] if num_kept == 1 else sorted({round(x) for x in numpy.linspace(0, total - 1, num_kept)})
