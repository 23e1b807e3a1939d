"""Drop the tokens that no training row uses, from the tokenizer and from every table that has a row for each of them.

The answers to text of known tokens stay as they were, so nothing needs to recover. How much of new text is of other tokens, and comes in
smaller pieces, is told by those that the training rows use once.

Source   Abdaoui, Pradel, Sigel 2020, "Load what you need: smaller versions of multilingual BERT"; Good 1953, "The population frequencies
         of species and the estimation of population parameters", section 1
"""

import copy
import itertools
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from penjing.core.contracts import Anatomy
from penjing.core.errors import ModelError
from penjing.core.options import Between
from penjing.methods.prune import Remaining, Shown, Smaller
from penjing.methods.prune._tokenizer import closed, trimmed
from penjing.methods.prune._units import taken

RECOVERS = LOOKS = False
LISTS = ("suppress_tokens", "begin_suppress_tokens", "bad_words_ids")  # what is never written, by its numbers
UNCLEAR = ("forced_decoder_ids", "sequence_bias")


@dataclass(frozen=True)
class Options:
    """How much stays."""

    keep_share: Annotated[
        float, "share of the tokens that stays at least: of those that no row uses the first, which are the most frequent", Between(0.01, 1)
    ] = 0.01


def fits(anatomy: Anatomy) -> bool:
    """A table with an entry for each token."""
    return anatomy.embedding is not None


def unfit(model: PreTrainedModel, processor: Any) -> str:
    """Why tokens cannot be dropped; empty where they can."""
    if not isinstance(processor, PreTrainedTokenizerFast):
        return "the tokenizer of this model cannot be written anew"
    if max(processor.get_vocab().values()) >= model.config.vocab_size:
        return "the tokenizer of this model has tokens that the model has no row for"
    settled = model.generation_config.to_dict() if model.can_generate() else {}
    if given := next((name for name in UNCLEAR if settled.get(name)), None):
        return f"generation_config.json has {given}, which speaks of tokens by their numbers"
    return ""


def apply(model: PreTrainedModel, anatomy: Anatomy, shown: Shown, settings: Options) -> Smaller:
    """The model with the tokens of the training rows, and those that every text may need.

    Raises ModelError for a tokenizer that cannot be written anew.
    """
    if problem := unfit(model, shown.processor):
        raise ModelError(problem, wanted="a tokenizer with tokenizer.json, and a row for each of its tokens", fix="choose another --method")
    counts, there = shown.tokens(), sorted({*shown.processor.get_vocab().values()})
    settled = [_marks(model.config)] + ([_marks(model.generation_config)] if model.can_generate() else [])
    named = {mark for marks in settled for name, value in marks.items() if name not in LISTS for mark in _each(value)} & {*there}
    kept = closed(shown.processor, {*counts, *named})
    wanted = round(len(there) * settings.keep_share)
    rest = (number for number in there if number not in kept)
    while len(kept) < wanted:
        kept = closed(shown.processor, {*kept, *itertools.islice(rest, wanted - len(kept))})
    order = sorted(kept)
    weights = Remaining(shown.weights)
    for name, (dimension, length) in _tables(model).items():
        weights.change(name, partial(taken, dimension, length, torch.tensor(order), 1))
    number = {old: new for new, old in enumerate(order)}
    changed = [{name: _renumbered(value, number) for name, value in marks.items()} for marks in settled]
    generation = copy.deepcopy(model.generation_config) if model.can_generate() else None
    if generation is not None:
        generation.update(**changed[1])
    once = sum(count == 1 for count in counts.values())
    facts = {
        "tokens": f"{len(order):,} of {len(there):,} tokens, {len(counts):,} of them in the training rows",
        "new_text_share": once / max(1, counts.total()),
    }
    changes = {"vocab_size": len(order), **changed[0]}
    return Smaller(changes, weights, facts, trimmed(shown.processor, order), generation)


def _marks(config: Any) -> dict[str, Any]:
    """The entries of a config that are numbers of tokens, one or several."""
    return {name: value for name, value in config.to_dict().items() if value is not None and (name.endswith("_token_id") or name in LISTS)}


def _each(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


def _renumbered(value: Any, number: dict[int, int]) -> Any:
    """The new number, or of several those that are there yet; None for one that is not."""
    if not isinstance(value, list):
        return number.get(value)
    whole = [each for each in value if all(old in number for old in _each(each))]
    return [_renumbered(each, number) for each in whole]


def _tables(model: PreTrainedModel) -> dict[str, tuple[int, int]]:
    """Parameters and buffers with an entry for each token -> its dimension and length: what would be longer with a longer vocabulary."""
    config = copy.deepcopy(model.config)
    config.vocab_size += 1
    with torch.device("meta"):
        longer = type(model)(config).state_dict()
    differing = {name: (value.shape, longer[name].shape) for name, value in model.state_dict().items() if value.shape != longer[name].shape}
    return {name: next((i, a) for i, (a, b) in enumerate(zip(*shapes)) if a != b) for name, shapes in differing.items()}
