"""Keep the most important heads of every attention, each attention its own; heads that share keys and values go together.

Michel, Levy, Neubig 2019, "Are sixteen heads really better than one?", section 4.1 (importance by Taylor, there with the size taken row by
row); Ainslie et al. 2023, "GQA", for groups. Only where a config says the width of a head beside that of the model.
"""

from dataclasses import dataclass
from typing import Annotated, Any

from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller
from penjing.methods.prune._units import Importance, best, cut, entries, nearest, scored

RECOVERS = LOOKS = True


@dataclass(frozen=True)
class Options:
    """How much stays, and what."""

    keep_share: Annotated[float, "share of the heads that stays, rounded to what the config can say", Between(0.01, 1)] = 0.5
    importance: Annotated[
        Importance, "what says how much a head matters: how the loss changes without it, its weights, or what it gives"
    ] = "taylor"


def fits(anatomy: Anatomy) -> bool:
    """Heads whose number can change alone."""
    return anatomy.heads.free


def size(config: Any, anatomy: Anatomy, wanted: float) -> int:
    """How many heads can stay, nearest to what is wanted."""
    groups = anatomy.heads
    each = max(groups.settings.values())
    return each * nearest(config, range(1, groups.total + 1), wanted / each, lambda count: entries(groups, count))


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with the same number of heads in every attention."""
    groups, weights = anatomy.heads, Remaining(shown.weights)
    each = max(groups.settings.values())
    total = groups.total * each
    count = size(model.config, anatomy, total * settings.keep_share)
    kept, lost = best(scored(model, settings.importance, groups, shown), count // each)
    cut(weights, groups, kept)
    facts = {"heads": f"{count} of {total}", "importance_lost_share": lost}
    return Smaller(entries(groups, count // each), weights, facts, share=count / total)
