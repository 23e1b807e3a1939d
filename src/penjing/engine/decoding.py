"""Rows that a model writes token by token, on what it keeps of the tokens so far; rows leave, and others join between two tokens.

Letters   N rows, T tokens so far, of the longest row, S tokens that an encoder has read, V tokens of the vocabulary
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import Cache, GenerationConfig, PreTrainedModel

from penjing.engine import cache
from penjing.families.rnn import States

MASK, OWN_MASK, KEPT = "attention_mask", "decoder_attention_mask", "past_key_values"
OF_THE_LOOP = {"logits_processor", "stopping_criteria", "generation_config"}
OFF = 1e-3  # of the largest logit: what rows may differ from those that are computed alone; half precision rounds to 4e-3
OFF_HALF = 5e-2


class Decoding:
    """Rows of one model.

    tokens   (N, T) those of an answer behind its prompt, shorter rows with padding in front; of an encoder-decoder the answer alone
    """

    def __init__(self, model: Any, tokens: Tensor, state: dict[str, Any]):
        """What `generate` of transformers has prepared.

        state     what the model is told beside the tokens, and keeps of them, all with the rows first
        """
        self.model, self.tokens, self._state = model, tokens, state
        self._new: int | None = None
        self._two_parts: bool = model.config.is_encoder_decoder
        self._mask = OWN_MASK if self._two_parts else MASK
        cache.make_room(state.get(KEPT))

    @classmethod
    def begin(cls, model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Self:
        """Prompts (N, T) with padding in front and their mask, or (N, S) what an encoder reads."""
        settings: GenerationConfig = copy.deepcopy(model.generation_config)  # type: ignore[assignment]
        settings.update(**dict.fromkeys(("max_length", "min_length", "min_new_tokens", "stop_strings")), num_beams=1, do_sample=False)
        settings.max_new_tokens = 1

        def prepared(model: Any, input_ids: Tensor, **state: Any) -> Any:
            return cls(model, input_ids, {name: value for name, value in state.items() if name not in OF_THE_LOOP})

        with given_settings(model):
            return model.generate(**inputs, generation_config=settings, custom_generate=prepared)  # type: ignore[operator, no-any-return]

    def scores(self) -> Tensor:
        """(N, V) of the next token; `append` comes before the next call."""
        asked = self.model.prepare_inputs_for_generation(
            self.tokens, next_sequence_length=self._new, is_first_iteration=self._new is None, **self._state
        )
        with self._places():
            outputs, self._new = self.model(**asked, return_dict=True), 1
        self._state = self.model._update_model_kwargs_for_generation(outputs, self._state, is_encoder_decoder=self._two_parts)
        return outputs.logits[:, -1].float()  # type: ignore[no-any-return]

    def append(self, tokens: Tensor) -> None:
        """(N,) the next token of each row."""
        self.tokens = torch.cat([self.tokens, tokens[:, None]], 1)

    def keep(self, places: Tensor) -> None:
        """Go on with these rows, in this order."""
        self._state = {name: _of_rows(value, places, len(self.tokens)) for name, value in self._state.items()}
        self.tokens = self.tokens[places]

    def join(self, other: "Decoding") -> "Decoding":
        """Go on with the rows of another too, behind its own; the other is of no use any more. Returns itself.

        Raises TypeError where what the model keeps of rows cannot be put together.
        """
        if self._mask in inspect.signature(self.model.forward).parameters:  # a recurrent decoder sees no token again
            for one in (self, other):
                if one._state.get(one._mask) is None:
                    one._state[one._mask] = torch.ones_like(one.tokens)
        self._state = {name: _joined(value, other._state[name]) for name, value in self._state.items()}
        self.tokens = _joined(self.tokens, other.tokens)
        return self

    def shorten(self) -> None:
        """Give up the padding that all rows have in front, where others may join."""
        kept = self._state.get(KEPT)
        if kept is None or not cache.is_roomy(kept):
            return
        own = _in_front(self._state.get(self._mask))
        read = _in_front(self._state.get(MASK)) if self._two_parts else own
        self.tokens = self.tokens[:, own:]
        cache.shorten(kept, own, read)
        self._state = {name: _shortened(value, own if name.startswith("decoder_") else read) for name, value in self._state.items()}

    @contextmanager
    def _places(self) -> Iterator[None]:
        """While the body runs a decoder that counts the tokens of a batch counts those of each row.

        Marian's, BART's and their like have no other word for where a row is than one number for all.
        """
        mask = self._state.get(OWN_MASK)
        if mask is None:
            yield
            return
        at = mask.sum(1) - 1

        def told(module: nn.Module, given: Any, words: dict[str, Any]) -> Any:
            return given, {**words, "position_ids": at}

        def shaped(module: nn.Module, given: Any, found: Tensor) -> Tensor:
            return found.reshape(len(at), 1, -1)

        hooks = [module.register_forward_pre_hook(told, with_kwargs=True) for module in _counting(self.model)]
        hooks += [module.register_forward_hook(shaped) for module in _counting(self.model)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


@contextmanager
def given_settings(model: Any) -> Iterator[None]:
    """While the body runs what settings leave open is not as the model's own have it: these are a copy of them already.

    transformers would take stop texts from there, and then ask for a tokenizer, which it does not let through to a loop of ours.
    """
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def begins(model: PreTrainedModel) -> bool:
    """Whether rows of different length may begin together; tried, as no name tells it: each alone, and both with padding."""
    trial = _Trial(model)
    return trial.agrees(lambda: trial.begun([0, 1], 1), trial.begun([0], 1), trial.begun([1], 1))


def joins(model: PreTrainedModel) -> bool:
    """Whether rows may join others that are further on; tried likewise."""
    trial = _Trial(model)
    return trial.agrees(lambda: trial.begun([0], 1).join(trial.begun([1], 4)), trial.begun([0], 1), trial.begun([1], 4))


class _Trial:
    """Two rows of different length, and the tokens that a model is made to write after them."""

    def __init__(self, model: PreTrainedModel):
        self._model, draw = model, torch.Generator().manual_seed(0)
        vocabulary: int = model.config.get_text_config(decoder=True).vocab_size
        self._rows = [torch.randint(vocabulary, (length,), generator=draw).to(model.device) for length in (3, 9)]
        self._script = torch.randint(vocabulary, (4,), generator=draw).to(model.device)

    def begun(self, numbers: list[int], tokens: int) -> Decoding:
        """These rows with so many tokens after them."""
        rows, side = [self._rows[number] for number in numbers], "right" if self._model.config.is_encoder_decoder else "left"
        inputs = {
            name: pad_sequence(each, batch_first=True, padding_side=side)
            for name, each in (("input_ids", rows), (MASK, [torch.ones_like(row) for row in rows]))
        }
        found = Decoding.begin(self._model, inputs)
        for token in self._script[:tokens]:
            found.scores()
            found.append(token.expand(len(rows)))
        return found

    def agrees(self, together: Callable[[], Decoding], *alone: Decoding) -> bool:
        """Whether rows are told two more tokens as each of them is alone."""
        wanted = torch.cat([self._told(each) for each in alone], 1)
        allowed = wanted.abs().max() * (OFF if self._model.dtype == torch.float32 else OFF_HALF)
        try:
            found = self._told(together())
        except (TypeError, ValueError, RuntimeError, IndexError):  # what it keeps is of another kind
            return False
        return found.shape == wanted.shape and bool((found - wanted).abs().max() <= allowed)

    def _told(self, found: Decoding) -> Tensor:
        """(2, N, V)"""
        first = found.scores()
        found.append(self._script[:1].expand(len(first)))
        return torch.stack([first, found.scores()])


def _counting(model: nn.Module) -> list[nn.Module]:
    """The modules of a decoder that are told how many tokens there were, and what stands where."""
    return [part for part in model.modules() if {"past_key_values_length", "position_ids"} <= {*inspect.signature(part.forward).parameters}]


def _of_rows(value: Any, kept: Tensor, number: int) -> Any:
    """Of what holds `number` rows, those that are kept."""
    if isinstance(value, Cache):
        cache.keep(value, kept)
        return value
    if isinstance(value, Tensor):
        return value[kept] if value.ndim and len(value) == number else value
    if isinstance(value, dict):
        return type(value)(**{name: _of_rows(part, kept, number) for name, part in value.items()})
    return tuple(_of_rows(part, kept, number) for part in value) if isinstance(value, tuple) else value


def _joined(value: Any, other: Any) -> Any:
    """The rows of both; in front of the shorter ones zeros."""
    if isinstance(value, States):
        value.kept = {layer: tuple(torch.cat(pair, 1) for pair in zip(parts, other.kept[layer])) for layer, parts in value.kept.items()}
        return value
    if isinstance(value, Cache) and cache.is_roomy(value):
        cache.join(value, other)
        return value
    if isinstance(value, Tensor) and value.ndim > 1:
        longest = max(value.shape[1], other.shape[1])
        return torch.cat([_padded(value, longest), _padded(other, longest)])
    if isinstance(value, dict):
        return type(value)(**{name: _joined(part, other[name]) for name, part in value.items()})
    if type(value) is not type(other) or (not isinstance(value, (int, float, str)) and value is not None) or value != other:
        raise TypeError("no rows of tokens")
    return value


def _in_front(mask: Tensor | None) -> int:
    """Positions of padding that all rows (N, T) begin with."""
    return 0 if mask is None else int(mask.any(0).int().argmax())


def _shortened(value: Any, fewer: int) -> Any:
    """Rows (N, T, ...) without so many of their first positions."""
    if isinstance(value, Tensor) and value.ndim > 1:
        return value[:, fewer:]
    if isinstance(value, dict):
        return type(value)(**{name: _shortened(part, fewer) for name, part in value.items()})
    return value


def _padded(value: Tensor, length: int) -> Tensor:
    """(N, T, ...) with zeros in front."""
    zeros = value.new_zeros(len(value), length - value.shape[1], *value.shape[2:])
    return torch.cat([zeros, value], 1) if zeros.shape[1] else value
