"""Answers token by token, for every task that writes: on `generate` of transformers, which reads the settings and prepares the model.

Its own loop is used for beams. For one answer a row the loop is `_write`: rows that have ended leave the batch, and what is drawn for a row
depends on the seed and the row alone.

Letters   N rows of a batch, T tokens so far, V tokens of the vocabulary
"""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList, StopStringCriteria

from penjing.core.contracts import Batch
from penjing.core.generation import Generation
from penjing.engine.decoding import Decoding, given_settings
from penjing.engine.load import quiet_transformers
from penjing.engine.shortcuts import fused_activations

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
    settings = settings_of(model, chosen, seen or 1)
    stopping = StoppingCriteriaList([StopStringCriteria(processor, settings.stop_strings)] if settings.stop_strings else [])
    stops, settings.stop_strings = settings.stop_strings or [], None
    choose = drawing(batch.rows, seed) if settings.do_sample else likeliest
    loop = functools.partial(_write, choose=choose) if settings.num_beams == 1 else None
    with fused_activations(model), given_settings(model), quiet_transformers():  # which warns of settings of no use
        written = model.generate(**inputs, generation_config=settings, stopping_criteria=stopping, custom_generate=loop)  # type: ignore[operator]
    texts = processor.batch_decode(written, skip_special_tokens=True)
    before = processor.batch_decode(inputs["input_ids"], skip_special_tokens=True) if seen else [""] * len(texts)
    return [cut(text[len(prompt) :], stops) for text, prompt in zip(texts, before)]


def settings_of(model: PreTrainedModel, chosen: Generation, seen: int) -> GenerationConfig:
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


def processors(model: Any, settings: GenerationConfig, read: Tensor) -> LogitsProcessorList:
    """What changes the scores of a row before a token is chosen, as its settings say, in the order of transformers.

    read      (1, T) the prompt, or what an encoder reads
    """
    settings, _ = model._prepare_generation_config(settings)
    model._prepare_special_tokens(settings, device=read.device)
    length = 1 if model.config.is_encoder_decoder else read.shape[1]
    settings.max_length = length + (settings.max_new_tokens or 0)
    return model._get_logits_processor(  # type: ignore[no-any-return]
        settings, input_ids_seq_length=length, encoder_input_ids=read, device=read.device, model_kwargs={}
    )


def _write(
    model: Any, input_ids: Tensor, logits_processor: Any, stopping_criteria: Any, generation_config: GenerationConfig, choose: Choose,
    **state: Any,
) -> Tensor:  # fmt: skip
    """(N, T) prompts and the tokens that follow; behind its end a row is padded. A `custom_generate` of transformers.

    state     what the model has kept of the tokens so far, all with the rows first
    """
    padding, written = int(generation_config.pad_token_id or 0), Decoding(model, input_ids, state)
    rows, going = torch.arange(len(input_ids)), torch.ones(len(input_ids), dtype=torch.bool)
    finished: list[Tensor] = [input_ids[0]] * len(input_ids)
    while True:
        written.append(choose(logits_processor(written.tokens, written.scores()), rows))
        for place in (going & (ended := stopping_criteria(written.tokens, None).cpu())).nonzero()[:, 0].tolist():
            finished[int(rows[place])] = written.tokens[place]
        going &= ~ended
        if not going.any():
            return torch.nn.utils.rnn.pad_sequence(finished, batch_first=True, padding_value=padding)
        if (~going).float().mean() >= LEAVING:
            kept = going.nonzero()[:, 0]
            written.keep(kept.to(input_ids.device))
            rows, going = rows[kept], going[going]


def likeliest(scores: Tensor, rows: Tensor) -> Tensor:
    return scores.argmax(-1)


def drawing(numbers: Tensor, seed: int) -> Choose:
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


def cut(text: str, stops: Sequence[str]) -> str:
    """The text up to the first of the stop texts."""
    return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]
