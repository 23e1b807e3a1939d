"""What attention keeps of the tokens so far, in memory with room for more, where transformers copies all of it for each token.

The tokens of all rows end at the same place, so that a row joins and leaves others without their being copied.

Letters   N rows of a batch, T tokens so far, H heads, D numbers of a head
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, EncoderDecoderCache
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin

ROOM = 64  # tokens for which memory is taken at once


class RoomyLayer(DynamicLayer):
    """What attention keeps of a layer: `keys` and `values` (N, H, T, D) are a part of memory for more rows and tokens."""

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

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows, in this order; in place where each only moves towards the first."""
        places = indices.tolist()
        if self.get_seq_length() == 0 or any(row < to for to, row in enumerate(places)):
            super().batch_select_indices(indices)
        else:
            self.keys, self.values = self._keys.kept(self.keys, places), self._values.kept(self.values, places)

    def join(self, other: DynamicLayer) -> None:
        """Take the rows of another layer behind its own; of all the last tokens stand together, and before a shorter row are zeros."""
        self.keys, self.values = self._keys.joined(self.keys, other.keys), self._values.joined(self.values, other.values)

    def shorten(self, fewer: int) -> None:
        """Give up so many of the first tokens."""
        self.keys, self.values = self._keys.shortened(self.keys, fewer), self._values.shortened(self.values, fewer)


class _Room:
    """Memory (more rows, H, more tokens, D), and the part of it that is in use: its first rows, and their tokens up to one end."""

    def __init__(self) -> None:
        self._memory, self._used, self._end = torch.empty(0), torch.empty(0), 0

    def appended(self, kept: Any, new: Tensor) -> Tensor:
        """(N, H, T, D) and (N, H, T', D) as (N, H, T + T', D); where `kept` is not what it gave last it is copied."""
        tokens, more = kept.shape[2], new.shape[2]
        if kept is not self._used or self._end + more > self._memory.shape[2]:
            self._move(kept, len(kept), tokens, more)
        self._memory[: len(new), :, self._end : self._end + more] = new
        return self._use(len(new), tokens + more, self._end + more)

    def joined(self, kept: Any, other: Any) -> Tensor:
        """(N, H, T, D) and (N', H, T', D) as (N + N', H, the longer, D)."""
        rows, tokens = len(kept) + len(other), max(kept.shape[2], other.shape[2])
        if kept is not self._used or rows > len(self._memory) or tokens > self._end:
            self._move(kept, rows, tokens)
        there = self._memory[len(kept) : rows, :, self._end - tokens : self._end]
        there[:, :, : tokens - other.shape[2]] = 0
        there[:, :, tokens - other.shape[2] :] = other
        return self._use(rows, tokens, self._end)

    def kept(self, kept: Any, places: list[int]) -> Tensor:
        """These rows, of which none stands before the place it goes to."""
        self._hold(kept)
        for to, row in enumerate(places):
            if to != row:
                self._used[to] = self._used[row]
        return self._use(len(places), kept.shape[2], self._end)

    def shortened(self, kept: Any, fewer: int) -> Tensor:
        """Without so many of the first tokens."""
        self._hold(kept)
        return self._use(len(kept), kept.shape[2] - fewer, self._end)

    def _hold(self, kept: Any) -> None:
        if kept is not self._used:
            self._move(kept, len(kept), kept.shape[2])
            self._use(len(kept), kept.shape[2], self._end)

    def _move(self, kept: Any, rows: int, tokens: int, more: int = 0) -> None:
        """To memory for so many rows and tokens that end together; zeros, as padding is masked, and masked not-a-numbers would stay so."""
        memory = kept.new_zeros(rows, kept.shape[1], tokens + more + ROOM, kept.shape[3])
        memory[: len(kept), :, tokens - kept.shape[2] : tokens] = kept
        self._memory, self._end = memory, tokens

    def _use(self, rows: int, tokens: int, end: int) -> Tensor:
        self._used, self._end = self._memory[:rows, :, end - tokens : end], end
        return self._used


def make_room(cache: Any) -> None:
    """Let a cache that is still empty keep its tokens in roomy layers, where it would copy them."""
    for part in _parts(cache):
        for number, layer in enumerate(part.layers):
            if type(layer) is DynamicLayer:
                part.layers[number] = RoomyLayer()


def is_roomy(cache: Any) -> bool:
    """Whether rows may join it: all that it keeps is tokens of rows, or it has no layers that attend."""
    return all(isinstance(layer, RoomyLayer) for part in _parts(cache) for layer in part.layers)


def keep(cache: Cache, rows: Tensor) -> None:
    """Go on with these rows, in this order."""
    layers = [layer for part in _parts(cache) for layer in part.layers]
    if not any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in layers):
        cache.batch_select_indices(rows)
        return
    for layer in layers:  # transformers selects rows of no layer that keeps states
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for states in (layer.conv_states, layer.recurrent_states):
                states.update({number: state[rows] for number, state in states.items() if state is not None})
        if isinstance(layer, DynamicLayer):
            layer.batch_select_indices(rows)


def join(cache: Cache, other: Cache) -> None:
    """Take the rows of another roomy cache of the same model behind its own."""
    for layer, new in zip(_layers(cache), _layers(other)):
        layer.join(new)


def shorten(cache: Cache, *fewer: int) -> None:
    """Give up so many of the first tokens of a roomy cache: of what has been written, and of what an encoder has read."""
    for part, number in zip(_parts(cache), fewer):
        for layer in _layers(part) if number else ():
            layer.shorten(number)


def _layers(cache: Cache) -> list[RoomyLayer]:
    return [layer for part in _parts(cache) for layer in part.layers if isinstance(layer, RoomyLayer)]


def _parts(cache: Any) -> list[Cache]:
    if isinstance(cache, EncoderDecoderCache):
        return [cache.self_attention_cache, cache.cross_attention_cache]
    return [cache] if isinstance(cache, Cache) else []
