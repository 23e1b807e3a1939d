"""What tasks have in common whose rows are their own targets: some tokens of a text are told from others.

An entry has `input_ids` and `tokens`, for each position the token that is to be told there, NONE where none is; `size` is how many bytes
of text these tokens are, on the first entry of a row. A mixture of experts is also held to use them evenly (Fedus, Zoph, Shazeer 2022,
"Switch transformers", section 2.2).

Letters   N entries of a batch, B its rows (B <= N), T tokens, M tokens that are told, C tokens that there are
"""

import math
from typing import Any, NamedTuple

import numpy
import torch
from torch import Tensor
from transformers import AutoTokenizer

from penjing.core.collate import ROW, pad
from penjing.core.contracts import Batch, Prediction, RowLoss, Task, of_rows
from penjing.core.errors import ModelError
from penjing.maths.losses import cross_entropy

NONE = -100
INPUTS, TOKENS, SIZE = "input_ids", "tokens", "size"
BALANCE = 0.01  # weight of how unevenly experts are used, beside the nats of a token
FEW = 0.5  # share of positions that are told, below which those of the others are not asked for
_MOST_SHOWN = 600  # letters of a row


class Told(NamedTuple):
    """How well the tokens of a row were told: nats that they cost, their number, how many were the likeliest, and bytes of their text.

    bytes is 0 where it is not known, as some were unknown tokens.
    """

    nats: float
    tokens: int
    right: int
    bytes: int


STAKED = 0.95  # of the rows have no more at stake than is counted: with the most in its place one odd text would decide


class Language(Task):
    auto_processor, media = AutoTokenizer, "text"
    columns, target_columns = {"text": str}, ()
    open_answers = self_supervised = True
    stages = ("pretrain", *Task.stages)
    primary = "accuracy"
    errors: tuple[str, ...] = ("perplexity", "bits_per_byte")

    def collate(self, encoded, tokenizer):
        plain = [{name: entry[name] for name in (INPUTS, ROW)} for entry in encoded]
        whole = [{**entry, "attention_mask": [1] * len(entry[INPUTS])} for entry in plain]
        batch = pad(whole, tokenizer, side="right")  # (N, T); on the left it would move the places of tokens
        if not all(TOKENS in entry for entry in encoded):
            return batch
        told = numpy.full(batch.inputs[INPUTS].shape, NONE, numpy.int64)
        for row, entry in zip(told, encoded):
            row[: len(entry[TOKENS])] = entry[TOKENS]
        there = torch.from_numpy(told != NONE)
        few = there if there.float().mean() < FEW else None
        return batch._replace(targets={TOKENS: torch.from_numpy(told)}, origin=[entry.get(SIZE, 0) for entry in encoded], told=few)

    def loss(self, outputs, batch):
        found, uneven = self._nats(outputs, batch), getattr(outputs, "aux_loss", None)
        return found if uneven is None else RowLoss(found.total + BALANCE * uneven * found.count, found.count)

    def _nats(self, outputs, batch):
        logits, told, places = counted(outputs, batch)
        each = cross_entropy(logits, told)
        rows = int(places_of(batch)[-1]) + 1
        return RowLoss(*(torch.zeros(rows, dtype=x.dtype, device=x.device).index_add(0, places, x) for x in each))

    def logits(self, outputs, batch):
        logits, _, _ = counted(outputs, batch)
        return logits, batch.rows[(batch.targets[TOKENS] != NONE).cpu().nonzero()[:, 0]]

    def decode(self, outputs, batch, processor):
        logits, told, places = counted(outputs, batch)
        loss, number = self._nats(outputs, batch), int(places_of(batch)[-1]) + 1
        right = torch.zeros(number, device=told.device).index_add(0, places, (logits.argmax(-1) == told).float())
        sizes = torch.zeros(number, dtype=torch.int64).index_add(0, places_of(batch), torch.tensor(batch.origin))
        found = zip(loss.total.tolist(), loss.count.tolist(), right.int().tolist(), sizes.tolist())
        return [Prediction(Told(*values)) for values in found]

    def choice(self, outputs, batch):
        return counted(outputs, batch)[1]

    def target(self, outputs, batch, part=None, choice=None):
        """(B,) the log probability of the tokens that are told, or of the `part`th of a row."""
        logits, told, _ = counted(outputs, batch)
        return of_rows(-cross_entropy(logits, told).total, self.logits(outputs, batch)[1], batch, part)

    def score(self, predictions, examples):
        return self.scorer(predictions, examples)(numpy.arange(len(predictions)))

    def at_stake(self, predictions, examples):
        right, tokens = zip(*((p.value.right, p.value.tokens) for p in predictions))
        return numpy.quantile(right, STAKED) / numpy.mean(tokens)

    def scorer(self, predictions, examples):
        counts = numpy.array([p.value for p in predictions], float)
        sized = bool(counts[:, 3].all())

        def score(rows):
            nats, tokens, right, size = counts[rows].sum(0).tolist()
            told = {"accuracy": right / tokens, "perplexity": math.exp(nats / tokens)}
            return {**told, **({"bits_per_byte": nats / math.log(2) / size} if sized else {})}

        return score

    def truth(self, example):
        size = len(example["text"].encode())
        return Told(0.0, size, size, size)

    def off(self, prediction, example):
        return 1 - prediction.value.right / prediction.value.tokens

    def length(self, encoded):
        return len(encoded[INPUTS])

    def fills_window(self, encoded, processor):
        return False  # nothing is cut: a long text is read in windows

    def baseline(self, rows):
        from penjing.tasks._ngrams import NGrams

        return NGrams()

    def show(self, example):
        return {"text": example["text"][:_MOST_SHOWN]}


def places_of(batch: Batch) -> Tensor:
    """(N,) which row of the batch each entry belongs to, from 0."""
    return torch.unique_consecutive(batch.rows, return_inverse=True)[1]


def counted(outputs: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (M, C) of the tokens that are told, these (M,), and the place of their row in the batch.

    outputs    with logits (N, T, C), or (M, C) of those that are told
    """
    told, logits = batch.targets[TOKENS], outputs.logits
    places = places_of(batch).to(told.device)[:, None].expand_as(told)
    there = told != NONE
    if logits.ndim == 2:  # of these alone
        return logits, told[there], places[there]
    if there.all():
        return logits.flatten(0, 1), told.flatten(), places.flatten()
    return logits[there], told[there], places[there]


def ids_of(text: str, tokenizer: Any) -> list[int]:
    """Its tokens, without those that stand around a text."""
    return tokenizer(text, add_special_tokens=False, verbose=False)[INPUTS]  # type: ignore[no-any-return]


def begin_of(tokenizer: Any) -> list[int]:
    """What stands before a text."""
    return [end_of(tokenizer) if tokenizer.bos_token_id is None else tokenizer.bos_token_id]


def end_of(tokenizer: Any) -> int:
    """The token that ends a text."""
    return token_of(tokenizer, "eos", "token that ends a text", "use a model that was made to write, or pretrain new:<size>")


def token_of(tokenizer: Any, role: str, called: str, fix: str) -> int:
    """The special token of a role: "eos", "mask".

    Raises ModelError for a tokenizer that has none.
    """
    found: int | None = getattr(tokenizer, f"{role}_token_id")
    if found is None:
        raise ModelError(f"the tokenizer of this model has no {called}", wanted=f"{role}_token in tokenizer_config.json", fix=fix)
    return found
