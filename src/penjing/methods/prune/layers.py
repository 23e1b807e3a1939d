"""Drop whole blocks, keeping the first, the last and those evenly between.

Sanh, Debut, Chaumond, Wolf 2019, "DistilBERT", section 3 (every other layer); Sajjad et al. 2023, "On the effect of dropping layers",
find evenly kept and top-dropped layers about equal after recovery.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy
from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy, Batch, RowLoss
from penjing.core.options import Between
from penjing.methods.prune import Smaller


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[float, "share of the blocks that stays, rounded to whole ones", Between(0.01, 1)] = 0.5


def fits(anatomy: Anatomy) -> bool:
    """Two blocks at least, and a config that says how many."""
    return len(anatomy.blocks) > 1 and anatomy.depth is not None


def apply(
    model: PreTrainedModel, anatomy: Anatomy, batches: Iterable[Batch], loss: Callable[[Any, Batch], RowLoss], settings: Options
) -> Smaller:
    """The model with some of its blocks, renumbered."""
    total = len(anatomy.blocks)
    kept = kept_blocks(total, max(1, round(total * settings.keep_share)))
    renamed = {anatomy.blocks[old] + ".": anatomy.blocks[new] + "." for new, old in enumerate(kept)}
    weights = {}
    for name, value in model.state_dict().items():
        block = next((path + "." for path in anatomy.blocks if name.startswith(path + ".")), None)
        if block is None:
            weights[name] = value
        elif block in renamed:
            weights[renamed[block] + name.removeprefix(block)] = value
    return Smaller({str(anatomy.depth): len(kept)}, weights, {"blocks": f"{len(kept)} of {total}", "kept": kept})


def kept_blocks(total: int, num_kept: int) -> list[int]:
    """Numbers of the blocks that stay, evenly spread with both ends; the last alone when only one stays."""
    return [total - 1] if num_kept == 1 else sorted({round(x) for x in numpy.linspace(0, total - 1, num_kept)})
