"""Answers token by token, for every task that writes: on `generate` of transformers, which reads the settings and prepares the model.

Its own loop is used for beams. For one answer a row the loop is `_write`: rows that have ended leave the batch, and what is drawn for a row
depends on the seed and the row alone. What attention keeps of the tokens so far stands in memory with room for more, where transformers
copies all of it for each token.

Letters   N rows of a batch, T tokens so far, V tokens of the vocabulary, H heads, D numbers of a head
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import numpy
import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache, GenerationConfig, PreTrainedModel, StoppingCriteriaList, StopStringCriteria
from transformers.cache_utils import DynamicLayer

from penjing.core.contracts import Batch
from penjing.core.generation import Generation
from penjing.engine.load import quiet_transformers
from penjing.engine.shortcuts import fused_activations

ROOM = 64  # tokens for which memory is taken at once
MOST_NEW = 128  # tokens of an answer where neither the user nor the model says
LEAVING = 0.25  # share of a batch that must have ended before it is made smaller: each time copies what attention has kept

Choose = Callable[[Tensor, Tensor], Tensor]
"""(scores (N, V), numbers of the rows (N,)) -> (N,) the next tokens."""


def generate(model: PreTrainedModel, batch: Batch, processor: Any, chosen: Generation, seed: int) -> list[str]:
    """What the model writes for each entry of a batch, without the prompt, end tokens and what follows a stop text.

    batch     its prompts, or for an encoder-decoder what the encoder reads; padded on either side
    seed      of the draws, which are keyed by it and the row
    """
    two_parts = model.config.is_encoder_decoder
    inputs = batch.inputs if two_parts else to_the_left(batch.inputs)
    seen = 0 if two_parts else inputs["input_ids"].shape[1]
    settings = _settings(model, chosen, seen or 1)
    stopping = StoppingCriteriaList([StopStringCriteria(processor, settings.stop_strings)] if settings.stop_strings else [])
    stops, settings.stop_strings = settings.stop_strings or [], None
    choose = _drawing(batch.rows, seed) if settings.do_sample else _likeliest
    loop = functools.partial(_write, choose=choose) if settings.num_beams == 1 else None
    with fused_activations(model), quiet_transformers():  # transformers warns of settings of no use: a temperature where nothing is drawn
        written = model.generate(**inputs, generation_config=settings, stopping_criteria=stopping, custom_generate=loop)  # type: ignore[operator]
    texts = processor.batch_decode(written, skip_special_tokens=True)
    before = processor.batch_decode(inputs["input_ids"], skip_special_tokens=True) if seen else [""] * len(texts)
    return [_cut(text[len(prompt) :], stops) for text, prompt in zip(texts, before)]


def _settings(model: PreTrainedModel, chosen: Generation, seen: int) -> GenerationConfig:
    """The model's own settings, with what was chosen in their place; never more tokens than it has positions."""
    settings: GenerationConfig = copy.deepcopy(model.generation_config)  # type: ignore[assignment]
    settings.num_beams = chosen.beams or settings.num_beams or 1
    settings.do_sample = settings.num_beams == 1 and bool(settings.do_sample if chosen.draws is None else chosen.draws)
    for name in ("temperature", "top_k", "top_p"):
        if value := vars(chosen)[name]:
            setattr(settings, name, value)
    settings.stop_strings = chosen.stop or settings.stop_strings
    own = settings.max_new_tokens or (settings.max_length and max(1, settings.max_length - seen)) or MOST_NEW
    known = model.config.to_dict()
    positions = next((known[name] for name in ("max_position_embeddings", "n_positions") if name in known), None)
    most = chosen.max_new_tokens or own
    settings.max_length, settings.max_new_tokens = None, min(most, max(1, positions - seen)) if positions else most
    return settings


def _write(
    model: Any, input_ids: Tensor, logits_processor: Any, stopping_criteria: Any, generation_config: GenerationConfig, choose: Choose,
    **state: Any,
) -> Tensor:  # fmt: skip
    """(N, T) prompts and the tokens that follow; behind its end a row is padded. A `custom_generate` of transformers.

    state     what the model has kept of the tokens so far, all with the rows first
    """
    padding, two_parts = int(generation_config.pad_token_id or 0), model.config.is_encoder_decoder
    _make_room(state.get("past_key_values"))
    rows, going = torch.arange(len(input_ids)), torch.ones(len(input_ids), dtype=torch.bool)
    finished: list[Tensor] = [input_ids[0]] * len(input_ids)
    new = None
    while True:
        asked = model.prepare_inputs_for_generation(input_ids, next_sequence_length=new, is_first_iteration=new is None, **state)
        outputs, new = model(**asked, return_dict=True), 1
        state = model._update_model_kwargs_for_generation(outputs, state, is_encoder_decoder=two_parts)
        tokens = choose(logits_processor(input_ids, outputs.logits[:, -1].float()), rows)
        input_ids = torch.cat([input_ids, tokens[:, None]], 1)
        for place in (going & (ended := stopping_criteria(input_ids, None).cpu())).nonzero()[:, 0].tolist():
            finished[int(rows[place])] = input_ids[place]
        going &= ~ended
        if not going.any():
            return torch.nn.utils.rnn.pad_sequence(finished, batch_first=True, padding_value=padding)
        if (~going).float().mean() >= LEAVING:
            kept = going.nonzero()[:, 0].to(input_ids.device)
            state = {name: _of_rows(value, kept, len(input_ids)) for name, value in state.items()}
            rows, input_ids, going = rows[kept.cpu()], input_ids[kept], going[going]


class RoomyLayer(DynamicLayer):
    """What attention keeps of a layer: `keys` and `values` (N, H, T, D) are the beginning of memory for more tokens."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._keys, self._values = _Room(), _Room()

    def update(self, key_states: Tensor, value_states: Tensor, *others: Any, **more: Any) -> tuple[Tensor, Tensor]:
        """All that is kept, with the states of new tokens at the end."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.keys, self.values = self._keys.appended(self.keys, key_states), self._values.appended(self.values, value_states)
        return self.keys, self.values


class _Room:
    """Memory (N, H, capacity, D), and the part of its beginning that is in use."""

    def __init__(self) -> None:
        self._memory, self._used = torch.empty(0), torch.empty(0)

    def appended(self, kept: Any, new: Tensor) -> Tensor:
        """(N, H, T, D) and (N, H, T', D) as (N, H, T + T', D); where `kept` is not what it gave last, as rows have left, it is copied."""
        before, after = kept.shape[2], kept.shape[2] + new.shape[2]
        if kept is not self._used or after > self._memory.shape[2]:
            self._memory = new.new_empty(*new.shape[:2], after + ROOM, new.shape[3])
            self._memory[:, :, :before] = kept
        self._memory[:, :, before:after] = new
        self._used = self._memory[:, :, :after]
        return self._used


def _make_room(cache: Any) -> None:
    """Let a cache that is still empty keep its tokens in roomy layers, where it would copy them."""
    cache = cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache
    for number, layer in enumerate(cache.layers if isinstance(cache, Cache) else ()):
        if type(layer) is DynamicLayer:
            cache.layers[number] = RoomyLayer()


def _of_rows(value: Any, kept: Tensor, number: int) -> Any:
    """Of what holds `number` rows, those that are kept."""
    if isinstance(value, Cache):
        value.batch_select_indices(kept)
        return value
    if isinstance(value, Tensor):
        return value[kept] if value.ndim and len(value) == number else value
    if isinstance(value, dict):
        return type(value)(**{name: _of_rows(part, kept, number) for name, part in value.items()})
    return tuple(_of_rows(part, kept, number) for part in value) if isinstance(value, tuple) else value


def _likeliest(scores: Tensor, rows: Tensor) -> Tensor:
    return scores.argmax(-1)


def _drawing(numbers: Tensor, seed: int) -> Choose:
    """One draw a row and token, from a stream of the row's own."""
    streams = [numpy.random.default_rng([seed, number]) for number in numbers.tolist()]

    def choose(scores: Tensor, rows: Tensor) -> Tensor:
        drawn = torch.tensor([[streams[row].random()] for row in rows.tolist()], dtype=torch.float64, device=scores.device)
        reached = scores.double().softmax(-1).cumsum(-1)
        return torch.searchsorted(reached, drawn * reached[:, -1:], right=True)[:, 0].clamp(max=scores.shape[-1] - 1)

    return choose


def to_the_left(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Prompts (N, T) with their padding in front, so that all go on at the same place."""
    real = inputs["attention_mask"]
    order = real.long().argsort(dim=1, stable=True)
    return {name: value.gather(1, order) for name, value in inputs.items()}


def _cut(text: str, stops: list[str]) -> str:
    """The text up to the first of the stop texts."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
