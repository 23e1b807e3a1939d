"""Recurrent networks: plain, GRU and LSTM, in one direction or both; labels for texts and for their tokens.

Elman 1990, "Finding structure in time" (plain, with tanh); Hochreiter, Schmidhuber 1997, "Long short-term memory", with the forget gate of
Gers, Schmidhuber, Cummins 2000; Cho et al. 2014, section 2.3 (GRU, with torch's place for the reset gate); Schuster, Paliwal 1997 (both
directions). Most and mean over tokens: Conneau et al. 2017, section 3.2, has either, here the head reads both.

Letters   B rows, T tokens, I inputs and H units of a cell, S states of a token (2H where both directions are read), C labels
"""

from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput, TokenClassifierOutput

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "rnn-mini": {"cell": "rnn", "embedding_size": 128, "widths": [128]},
    "gru-mini": {"cell": "gru", "embedding_size": 128, "widths": [128]},
    "lstm-mini": {"cell": "lstm", "embedding_size": 128, "widths": [128]},
    "lstm-small": {"cell": "lstm", "embedding_size": 256, "widths": [256, 256]},
}
CELLS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class RNNConfig(PretrainedConfig):
    """Shape of the network.

    cell            "rnn", "gru" or "lstm"
    vocab_size      tokens of the tokenizer
    embedding_size  numbers that stand for a token
    widths          units of each layer, of either direction
    bidirectional   whether each layer is read from the end too
    dropout         share that is dropped of what goes into each layer and into the head
    """

    model_type = "penjing_rnn"

    cell: str = "lstm"
    vocab_size: int = 8000
    embedding_size: int = 128
    widths: list[int] = field(default_factory=lambda: [128])
    bidirectional: bool = True
    dropout: float = 0.5

    def states(self) -> list[int]:
        """Numbers that each layer gives for a token."""
        return [(2 if self.bidirectional else 1) * width for width in self.widths]


class Layer(nn.Module):
    """A cell that reads each row from its beginning, and one that reads it from its end.

    The second reads rows that are turned round, each within its own length, so that padding comes last for both and changes nothing.
    torch's packed rows do the same without its fused kernels, and cannot be exported. A layer of LSTMs forward and backward over 32 rows of
    12 to 25 tokens, milliseconds of one thread with AVX512-BF16, variants in turn on a busy machine, 2026-11-22:

        inputs, units         128, fp32   bf16     256, fp32   bf16
        as here               21          14       70          44
        packed                28          27       89          56
    """

    def __init__(self, config: RNNConfig, inputs: int, width: int):
        super().__init__()
        cell = CELLS[config.cell]
        self.dropout = nn.Dropout(config.dropout)
        self.ahead = cell(inputs, width, batch_first=True)
        self.back = cell(inputs, width, batch_first=True) if config.bidirectional else None

    def forward(self, tokens: Tensor, turned: Tensor) -> Tensor:
        """(B, T, I) to (B, T, S); `turned` says where each token goes when its row is turned round, and where it comes back from."""
        tokens = self.dropout(tokens)
        states, *_ = self.ahead(tokens)
        if self.back is None:
            return states  # type: ignore[no-any-return]
        read, *_ = self.back(taken(tokens, turned))
        return torch.cat([states, taken(read, turned)], -1)


def taken(values: Tensor, places: Tensor) -> Tensor:
    """values (B, T, D) at `places` (B, T), counted over all rows; `gather`, which counts in each row, takes four times as long."""
    return values.flatten(0, 1).index_select(0, places.flatten()).view(*places.shape, -1)


class RNN(PreTrainedModel):
    """What all of the family have in common: the name of the body, and how weights are drawn."""

    config_class = RNNConfig
    base_model_prefix = "body"

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Embedding):  # torch's own N(0, 1) cost 9 points on the validation rows of sst2, 2026-11-22
            init.normal_(module.weight, std=0.1)
        if isinstance(module, nn.RNNBase):
            for weight in module.parameters():
                init.uniform_(weight, -(module.hidden_size**-0.5), module.hidden_size**-0.5)


class RNNModel(RNN):
    """States (B, T, S) of tokens."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        inputs = [config.embedding_size, *config.states()]
        self.layers = nn.ModuleList(Layer(config, *shape) for shape in zip(inputs, config.widths))
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> BaseModelOutput:
        """Tokens stand together, with padding (0 in the mask) on either side; what is said of padding means nothing."""
        num_rows, num_tokens = input_ids.shape
        place = torch.arange(num_tokens, device=input_ids.device)
        rows = torch.arange(num_rows, device=input_ids.device)[:, None] * num_tokens
        length, start = attention_mask.sum(1, keepdim=True), attention_mask.argmax(1, keepdim=True)
        first, turned = (torch.where(place < length, to, place) for to in (place + start, length - 1 - place))
        back = torch.where(attention_mask.bool(), place - start, place)
        tokens = self.embedding(input_ids.gather(1, first))
        for layer in self.layers:
            tokens = layer(tokens, rows + turned)
        return BaseModelOutput(last_hidden_state=taken(tokens, rows + back))


class RNNForSequenceClassification(RNN):
    """Logits (B, C) of texts, from the most and the mean over tokens that each state has."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        self.body = RNNModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.states()[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> SequenceClassifierOutput:
        """Two texts in a row are told apart by what the tokenizer writes between them, not by `token_type_ids`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states, there = self.body(input_ids, mask).last_hidden_state, mask.bool()[..., None]
        most, mean = states.masked_fill(~there, -torch.inf).amax(1), (states * there).sum(1) / there.sum(1)
        return SequenceClassifierOutput(logits=self.head(self.dropout(torch.cat([most, mean], -1))))


class RNNForTokenClassification(RNN):
    """Logits (B, T, C) of tokens."""

    def __init__(self, config: RNNConfig):
        super().__init__(config)
        self.body = RNNModel(config)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.states()[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> TokenClassifierOutput:
        """Two texts in a row are told apart by what the tokenizer writes between them, not by `token_type_ids`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        return TokenClassifierOutput(logits=self.head(self.dropout(self.body(input_ids, mask).last_hidden_state)))


HEADS = {
    RNNForSequenceClassification: AutoModelForSequenceClassification,
    RNNForTokenClassification: AutoModelForTokenClassification,
}


def config(size: str, facts: dict) -> RNNConfig:
    """The config of a fresh network for these data; reads `labels`, `vocab_size`."""
    return RNNConfig(
        **SIZES[size],
        vocab_size=facts["vocab_size"],
        id2label=dict(enumerate(facts["labels"])),
        label2id={label: number for number, label in enumerate(facts["labels"])},
    )


def register() -> None:
    """Let the Auto classes build and save this family; may be called again."""
    AutoConfig.register(RNNConfig.model_type, RNNConfig, exist_ok=True)
    RNNConfig.register_for_auto_class()
    for model, auto in HEADS.items():
        auto.register(RNNConfig, model, exist_ok=True)
        model.register_for_auto_class(auto.__name__)


def channel_groups(model: RNN) -> list[dict]:
    """One group for each layer, as keywords of ChannelGroup: unit k of both directions is one channel, with all of its gates."""
    groups = []
    for number in range(len(model.config.widths)):
        own, following = _cells(model.config, number), _cells(model.config, number + 1)
        weights = [(f"{cell}.{name}", 0) for cell in own for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
        recurrent = [(f"{cell}.weight_hh_l0", 1) for cell in own]
        readers = [(f"{cell}.weight_ih_l0", 1) for cell in following] or [("head.weight", 1)]
        scores = tuple(f"{cell}.{name}" for cell in own for name in ("weight_ih_l0", "weight_hh_l0"))
        groups.append({"setting": ("widths", number), "tensors": (*weights, *recurrent, *readers), "scores": scores})
    return groups


def _cells(config: PretrainedConfig, number: int) -> list[str]:
    """Paths of the cells of a layer; none behind the last."""
    names = ("ahead", "back") if config.bidirectional else ("ahead",)
    return [f"body.layers.{number}.{name}" for name in names if number < len(config.widths)]
