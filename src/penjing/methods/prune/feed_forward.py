"""Narrow the feed-forward part of every block to its most important neurons, each block to its own."""

from dataclasses import dataclass
from typing import Annotated, Any

from transformers import PreTrainedModel

from penjing.core.contracts import Anatomy, Units
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller
from penjing.methods.prune._units import ROUND_TO, Importance, best, cut, entries, nearest, scored

RECOVERS = LOOKS = True


@dataclass(frozen=True)
class Options:
    """How much stays, and what."""

    keep_share: Annotated[float, "share of the feed-forward neurons that stays", Between(0.01, 1)] = 0.5
    importance: Annotated[
        Importance, "what says how much a neuron matters: how the loss changes without it, its weights, or what it gives"
    ] = "taylor"


def fits(anatomy: Anatomy) -> bool:
    """Feed-forward layers, and a config that says how wide they are."""
    return bool(anatomy.feed_forward and anatomy.width)


def size(config: Any, anatomy: Anatomy, wanted: float) -> int:
    """How many neurons can stay in a layer, nearest to what is wanted."""
    width = config.to_dict()[anatomy.width[0]]
    return nearest(config, [*range(ROUND_TO, width, ROUND_TO), width], wanted, lambda count: dict.fromkeys(anatomy.width, count))


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with the same number of neurons in every block."""
    weights = Remaining(shown.weights)
    total = model.config.to_dict()[anatomy.width[0]]
    sets = tuple(
        (narrow, (*((f"{wide}.{part}", 0) for wide in widen for part in ("weight", "bias") if f"{wide}.{part}" in weights),
                  (f"{narrow}.weight", 1)))
        for widen, narrow in anatomy.feed_forward
    )  # fmt: skip
    neurons = Units(dict.fromkeys(anatomy.width, 1), total, sets, free=True)
    count = size(model.config, anatomy, total * settings.keep_share)
    kept, lost = best(scored(model, settings.importance, neurons, shown), count)
    cut(weights, neurons, kept)
    facts = {"width": f"{count} of {total}", "importance_lost_share": lost}
    return Smaller(entries(neurons, count), weights, facts, share=count / total)
