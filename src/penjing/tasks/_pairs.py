"""What tasks have in common that compare two texts by the vectors of an encoder, the means of its last states.

An entry is one text; those of a row stand together, `sentence1` first.

Letters   N texts of a batch, B its rows, D numbers of a vector
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from penjing.core.collate import pad
from penjing.core.contracts import Batch, Example, Task
from penjing.core.examples import Examples
from penjing.core.kinds import is_list
from penjing.tasks._nearest import vectors

SIDES = ("sentence1", "sentence2")
VECTORS = (
    'mask = inputs["attention_mask"][..., None]\n'
    "vectors = (last_hidden_state * mask).sum(1) / mask.sum(1)\n"
    "vectors = vectors / (vectors**2).sum(-1, keepdims=True) ** 0.5\n"
)
"""What the Python of a card does with the states of texts."""
_SIDE = "side"  # of an encoded entry, beside what the model sees


class Side(NamedTuple):
    """One text of a row, and whether it is the row's first."""

    text: str
    first: bool


class Pairs(Task):
    auto_model, auto_processor, media, reads = AutoModel, AutoTokenizer, "text", ("last_hidden_state",)
    open_answers = True

    @classmethod
    def adapt(cls, examples):
        if SIDES[0] not in examples.columns and "text" in examples.columns:
            examples = examples.rename({"text": SIDES[0]})
        for name in {*SIDES} & {*examples.columns}:
            examples = _single(examples, name)
        return examples, {}

    def texts(self, example):
        return _sides(example)

    def encode(self, example, tokenizer):
        return [
            {**tokenizer(text, truncation=True), _SIDE: Side(text, number == 0), **self.scored(example)}
            for number, text in enumerate(_sides(example))
        ]

    def scored(self, example: Example) -> dict[str, float]:
        """What the loss needs of a row beside its texts."""
        return {}

    def collate(self, encoded, tokenizer):
        batch = pad([{name: value for name, value in entry.items() if name not in (_SIDE, "score")} for entry in encoded], tokenizer)
        scores = [entry["score"] for entry in encoded if entry[_SIDE].first and "score" in entry]
        targets = {"score": torch.tensor(scores)} if scores else {}  # (B,)
        return batch._replace(targets=targets, origin=[entry[_SIDE] for entry in encoded])

    def beside(self, config):
        """How sentence-transformers makes a vector of a text: the same."""
        kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
        modules = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds.items())
        ]
        pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_mean_tokens": True}
        return {"modules.json": modules, "1_Pooling/config.json": pooling}

    def target(self, outputs, batch, part=None, choice=None):
        """(B,) how alike the two texts of each row are, their cosine."""
        first, second = both(outputs, batch)
        return (first * second).sum(-1)

    def labels_of(self, example):
        return []

    def length(self, encoded):
        return len(encoded["input_ids"])

    def show(self, example):
        return {"text": " … ".join(_sides(example))}


def both(outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """(B, D) vectors of length 1 of the first texts of the rows, and of the second."""
    found = vectors(outputs, batch)
    return found[0::2], found[1::2]


def _sides(example: Example) -> list[str]:
    return [example[name] for name in SIDES if name in example]


def _single(examples: Examples, name: str) -> Examples:
    """The rows with a text in a column where some files have several, the first of them."""
    if not any(map(is_list, examples.types(name))):
        return examples
    held = (row[name] for row in examples.only([name]))
    return examples.with_column(name, [next(iter(value), None) if isinstance(value, list) else value for value in held], str)
