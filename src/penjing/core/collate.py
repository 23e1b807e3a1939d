"""Entries to tensors. Letters: N entries, T the longest of them in tokens."""

from collections.abc import Sequence
from typing import Any

import numpy
import torch

from penjing.core.contracts import Batch

ROW = "row"
"""Key under which an encoded entry carries the number of its row."""
LENGTH_STEPS = {32: 2, 64: 4}
"""Longest text in tokens -> of what the length of its batch is a multiple; of LENGTH_STEP for longer ones.

torch keeps code for every shape it has met, and 150 steps of bert-tiny held 340 MB with steps of 8, 810 without; but with 8 for all
batches of SST-2, 23 tokens a sentence, were 19 % padding.
"""
LENGTH_STEP = 8


def pad(encoded: Sequence[dict[str, Any]], tokenizer: Any, targets: Sequence[str] = (), side: str | None = None) -> Batch:
    """Texts of different length as one batch, padded on `side`, or the tokenizer's, to a length of few; one text alone is not padded.

    Targets are taken where every entry has them; serving gives none.
    """
    reserved = {ROW, *targets}
    texts = [{name: value for name, value in entry.items() if name not in reserved} for entry in encoded]
    longest = max(len(text[tokenizer.model_input_names[0]]) for text in texts)
    step = next((step for most, step in LENGTH_STEPS.items() if longest <= most), LENGTH_STEP)
    stepped = min(-(-longest // step) * step, tokenizer.model_max_length)
    if len(texts) == 1 and "attention_mask" in texts[0]:
        padded = {name: [values] for name, values in texts[0].items()}
    else:
        padded = tokenizer.pad(texts, "max_length", max_length=longest if len(texts) == 1 else max(longest, stepped), padding_side=side)
    inputs = {name: torch.from_numpy(numpy.array(values)) for name, values in padded.items()}  # pad's own tensors take five times as long
    return Batch(inputs, _targets(encoded, targets), _rows(encoded))


def stack(encoded: Sequence[dict[str, Any]], targets: Sequence[str] = ()) -> Batch:
    """Tensors of equal shape as one batch: images of one size, windows of one length."""
    reserved = {ROW, *targets}
    names = [name for name in encoded[0] if name not in reserved]
    return Batch({n: torch.stack([entry[n] for entry in encoded]) for n in names}, _targets(encoded, targets), _rows(encoded))


def pad_with_zeros(encoded: Sequence[dict[str, Any]], targets: Sequence[str] = ()) -> Batch:
    """Tensors (T, ...) of different T as one batch, the shorter followed by zeros: samples of sounds and their masks."""
    reserved = {ROW, *targets}
    names = [name for name in encoded[0] if name not in reserved]
    inputs = {n: torch.nn.utils.rnn.pad_sequence([entry[n] for entry in encoded], batch_first=True) for n in names}
    return Batch(inputs, _targets(encoded, targets), _rows(encoded))


def _targets(encoded: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    return {n: torch.tensor([entry[n] for entry in encoded]) for n in names if all(n in entry for entry in encoded)}


def _rows(encoded: Sequence[dict[str, Any]]) -> torch.Tensor:
    return torch.tensor([entry[ROW] for entry in encoded], dtype=torch.int64)
