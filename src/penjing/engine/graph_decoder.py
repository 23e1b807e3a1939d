"""A graph that writes, as `generate` of transformers sees a model: whatever engine computes it.

Letters   N rows, P tokens before, T tokens that are read, H heads, D numbers of a head
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy
import torch
from numpy import ndarray
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from penjing.core.generation import PAST, PRESENT

Run = Callable[[Mapping[str, ndarray]], Mapping[str, ndarray]]
"""Inputs of the graph by their names, those of which nothing is kept left out -> every output."""


def from_nothing(entries: Iterable[Any], inputs: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """Inputs of a graph with what attention keeps of no tokens, where they name no others; `entries` are all that a session takes."""
    rows = len(next(iter(inputs.values())))
    shapes = {entry.name: (rows, entry.shape[1], 0, entry.shape[3]) for entry in entries if entry.name.startswith(PAST)}
    return {**{name: numpy.zeros(shape, numpy.float32) for name, shape in shapes.items()}, **inputs}


class GraphDecoder(PreTrainedModel, GenerationMixin):
    """No weights of its own: tokens and what attention keeps of earlier ones go to `run`, logits and what it keeps of all come back.

    names     of the outputs that are kept: present.0.key, present.0.value, present.1.key, ...
    """

    main_input_name = "input_ids"

    def __init__(self, config: PreTrainedConfig, generation_config: GenerationConfig, run: Run, names: list[str]):
        super().__init__(config)
        self.generation_config, self._run, self._names = generation_config, run, names

    @property
    def device(self) -> torch.device:  # transformers asks the first parameter
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None, **_: Any) -> Any:
        """ids (N, T), a mask (N, P + T), and a cache of P tokens, where there is one, which then holds P + T of them."""
        past: Any = DynamicCache() if past_key_values is None else past_key_values
        before = past.get_seq_length()
        if attention_mask is None:
            attention_mask = input_ids.new_ones(len(input_ids), before + input_ids.shape[1])
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if before:
            kept = (part for layer in past.layers for part in (layer.keys, layer.values))
            given |= {PAST + name.removeprefix(PRESENT): part for name, part in zip(self._names, kept)}
        found = self._run({name: value.numpy() for name, value in given.items()})
        parts = [torch.from_numpy(found[name]) for name in self._names]
        for number, (keys, values) in enumerate(zip(parts[::2], parts[1::2])):
            if not before:
                past.update(keys[:, :, :0], values[:, :, :0], number)
            past.layers[number].keys, past.layers[number].values = keys, values
        return CausalLMOutputWithPast(logits=torch.from_numpy(found["logits"]), past_key_values=None if past_key_values is None else past)
