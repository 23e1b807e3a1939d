"""Recurrent networks: plain, GRU and LSTM, in one direction or both. The task says what a size becomes: labels for texts or for their
tokens, a language model, or an encoder and a decoder that attends to it.

Elman 1990, "Finding structure in time" (plain, with tanh); Hochreiter, Schmidhuber 1997, "Long short-term memory", with the forget gate of
Gers, Schmidhuber, Cummins 2000; Cho et al. 2014, section 2.3 (GRU, with torch's place for the reset gate); Schuster, Paliwal 1997 (both
directions). Most and mean over tokens: Conneau et al. 2017, section 3.2, has either, here the head reads both. Dropout: Gal, Ghahramani
2016, section 4, one mask for all tokens of a row. Attention: Luong, Pham, Manning 2015, section 3.1, `general`, not fed in again.
What is told is told by the embeddings that are read: Press, Wolf 2017, with the projection of section 4.

Letters   B rows, T tokens, L tokens written, I inputs and H units of a cell, S states of a token (2H where both directions are read),
          E numbers that stand for a token, C labels, or tokens of the tokenizer
"""

from dataclasses import field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Cache,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutputWithPast,
    Seq2SeqLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

MEDIA = ("text",)
SIZES: dict[str, dict[str, Any]] = {
    "rnn-mini": {"cell": "rnn", "embedding_size": 128, "widths": [128]},
    "gru-mini": {"cell": "gru", "embedding_size": 128, "widths": [128]},
    "lstm-mini": {"cell": "lstm", "embedding_size": 128, "widths": [128]},
    "lstm-small": {"cell": "lstm", "embedding_size": 256, "widths": [256, 256]},
    "lstm-base": {"cell": "lstm", "embedding_size": 512, "widths": [512, 512]},
}
CELLS: dict[str, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SHAPE = ("cell", "vocab_size", "embedding_size", "widths", "bidirectional", "dropout")


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
    pad_token_id: int | None = None
    eos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    tie_word_embeddings: bool = True

    def states(self) -> list[int]:
        """Numbers that each layer gives for a token."""
        return [(2 if self.bidirectional else 1) * width for width in self.widths]


class Locked(nn.Dropout):
    """Dropout of (B, T, D) that drops the same numbers of all tokens of a row."""

    def forward(self, values: Tensor) -> Tensor:
        """(B, T, D) of the same shape."""
        if not self.training or self.p == 0:
            return values
        return values * F.dropout(torch.ones_like(values[:, :1]), self.p)


class States(Cache):
    """What recurrent layers keep of the tokens so far: for each layer the tensors (1, B, S) of its cell."""

    is_compileable = False

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.kept: dict[int, tuple[Tensor, ...]] = {}

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows, each maybe several times."""
        self.kept = {layer: tuple(part[:, indices] for part in parts) for layer, parts in self.kept.items()}

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """What transformers calls between two steps of beams."""
        self.batch_select_indices(beam_idx)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """As transformers asks; no attention looks back over the tokens themselves."""
        return 0


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
        self.dropout = Locked(config.dropout)
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

    def go_on(self, tokens: Tensor, lengths: Tensor, kept: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(B, T, I) to (B, T, S) and what the cell keeps behind a row's last token, from what it has kept; reads forward alone."""
        tokens, state = self.dropout(tokens), kept[0] if kept and len(kept) == 1 else kept
        if bool((lengths == tokens.shape[1]).all()):
            states, last = self.ahead(tokens, state)
        else:
            packed, last = self.ahead(pack_padded_sequence(tokens, lengths.cpu(), batch_first=True, enforce_sorted=False), state)
            states, _ = pad_packed_sequence(packed, batch_first=True, total_length=tokens.shape[1])
        return states, last if isinstance(last, tuple) else (last,)


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

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, past_key_values: States | None = None, **others: Any
    ) -> BaseModelOutput:
        """Tokens of a row stand together, with padding (0 in the mask) on either side; what is said of padding means nothing.

        past_key_values   what the layers have kept, from which they go on, and keep what follows; only where they read in one direction
        others            what `generate` tells every encoder, of attentions and the like
        """
        num_rows, num_tokens = input_ids.shape
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask[:, -num_tokens:]
        place = torch.arange(num_tokens, device=input_ids.device)
        rows = torch.arange(num_rows, device=input_ids.device)[:, None] * num_tokens
        length, start = mask.sum(1, keepdim=True), mask.argmax(1, keepdim=True)
        first, turned = (torch.where(place < length, to, place) for to in (place + start, length - 1 - place))
        back = torch.where(mask.bool(), place - start, place)
        tokens = self.embedding(input_ids.gather(1, first))
        for number, layer in enumerate(self.layers):
            if past_key_values is None:
                tokens = layer(tokens, rows + turned)
            else:
                kept = past_key_values.kept
                tokens, kept[number] = layer.go_on(tokens, length[:, 0], kept.get(number))  # type: ignore[operator]
        return BaseModelOutput(last_hidden_state=taken(tokens, rows + back))


class Writing(RNN, GenerationMixin):
    """What tells tokens, and keeps the states of its layers between two of them."""

    _tied_weights_keys = {"head.weight": "body.embedding.weight"}

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict[str, Any], *others: Any) -> None:  # type: ignore[override]
        if generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = States()

    def get_output_embeddings(self) -> nn.Module:
        """The layer that tells tokens."""
        return self.get_submodule("head")


class RNNForCausalLM(Writing):
    """Logits (B, T, C) of the token that follows each; reads in one direction, whatever its size does elsewhere."""

    def __init__(self, config: RNNConfig):
        config.bidirectional = False
        super().__init__(config)
        self.body = RNNModel(config)
        self.dropout = Locked(config.dropout)
        self.said = nn.Linear(config.states()[-1], config.embedding_size)
        self.head = nn.Linear(config.embedding_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: States | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
    ) -> CausalLMOutputWithPast:
        """`past_key_values` is what `generate` hands on; of the last `logits_to_keep` tokens there are logits, of all where that is 0."""
        states = self.body(input_ids, attention_mask, past_key_values).last_hidden_state[:, -logits_to_keep:]
        return CausalLMOutputWithPast(logits=self.head(self.said(self.dropout(states))), past_key_values=past_key_values)


class RNNForSeq2SeqLM(Writing):
    """Logits (B, L, C) of the tokens of an answer: a decoder, with layers as wide as the states of the encoder, attends to these.

    The decoder begins with what a layer makes of the encoder's mean state, and reads the tokens with an embedding that the encoder shares.
    """

    _tied_weights_keys = {**Writing._tied_weights_keys, "decoder.embedding.weight": "body.embedding.weight"}

    def __init__(self, config: RNNConfig):
        config.is_encoder_decoder = True
        super().__init__(config)
        self.body = RNNModel(config)
        shape = {**config.to_dict(), "widths": config.states(), "bidirectional": False}
        self.decoder = RNNModel(RNNConfig(**{name: shape[name] for name in SHAPE}))
        self.begin = nn.ModuleList(nn.Linear(config.states()[-1], width) for width in config.states())
        self.sought = nn.Linear(config.states()[-1], config.states()[-1], bias=False)
        self.dropout = Locked(config.dropout)
        self.read = nn.Linear(config.states()[-1], config.embedding_size, bias=False)
        self.said = nn.Linear(config.states()[-1], config.embedding_size)
        self.head = nn.Linear(config.embedding_size, config.vocab_size, bias=False)
        self.post_init()

    def get_encoder(self, modality: str | None = None) -> RNNModel:
        """What reads a text."""
        return self.body

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        past_key_values: States | None = None,
        use_cache: bool | None = None,
        return_dict: bool = True,
    ) -> Seq2SeqLMOutput:
        """`encoder_outputs`, in the place of `input_ids`, and `past_key_values` are what `generate` hands on."""
        states: Tensor = (encoder_outputs or self.body(input_ids, attention_mask))[0]
        there = states.new_ones(states.shape[:2]).bool() if attention_mask is None else attention_mask.bool()
        kept = States() if past_key_values is None else past_key_values
        if not kept.kept:
            mean = (states * there[..., None]).sum(1) / there.sum(1, keepdim=True)
            kept.kept = {number: self._begun(layer(mean)) for number, layer in enumerate(self.begin)}
        said = self.decoder(decoder_input_ids, past_key_values=kept).last_hidden_state
        read = F.scaled_dot_product_attention(self.sought(said), states, states, there[:, None], scale=1.0)
        told = self.dropout(torch.tanh(self.read(read) + self.said(said)))
        return Seq2SeqLMOutput(logits=self.head(told), past_key_values=past_key_values)  # type: ignore[arg-type]

    def _begun(self, state: Tensor) -> tuple[Tensor, ...]:
        """(B, S) as what a cell keeps before it has read."""
        state = torch.tanh(state)[None]
        return (state, torch.zeros_like(state)) if self.config.cell == "lstm" else (state,)


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
        self.dropout = Locked(config.dropout)
        self.head = nn.Linear(config.states()[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> TokenClassifierOutput:
        """Two texts in a row are told apart by what the tokenizer writes between them, not by `token_type_ids`."""
        return TokenClassifierOutput(logits=self.head(self.dropout(self.body(input_ids, attention_mask).last_hidden_state)))


HEADS = {
    RNNForSequenceClassification: AutoModelForSequenceClassification,
    RNNForTokenClassification: AutoModelForTokenClassification,
    RNNForCausalLM: AutoModelForCausalLM,
    RNNForSeq2SeqLM: AutoModelForSeq2SeqLM,
}


def config(size: str, facts: dict) -> RNNConfig:
    """The config of a fresh network; reads `vocab_size`, `pad_`, `cls_` (begins what is written), `eos_token_id`."""
    return RNNConfig(
        **SIZES[size],
        vocab_size=facts["vocab_size"],
        pad_token_id=facts["pad_token_id"],
        eos_token_id=facts["eos_token_id"],
        decoder_start_token_id=facts["cls_token_id"],
    )


def register() -> None:
    """Let the Auto classes build and save this family; may be called again."""
    AutoConfig.register(RNNConfig.model_type, RNNConfig, exist_ok=True)
    RNNConfig.register_for_auto_class()
    for model, auto in HEADS.items():
        auto.register(RNNConfig, model, exist_ok=True)
        model.register_for_auto_class(auto.__name__)


def channel_groups(model: RNN) -> list[dict]:
    """One group for each layer, as keywords of ChannelGroup: unit k of both directions is one channel, with all of its gates.

    A decoder's layer has a unit for each state of the encoder's, so that the two are one group.
    """
    groups, last = [], len(model.config.widths) - 1
    for number in range(last + 1):
        own, following = _cells(model, number), _cells(model, number + 1)
        weights = [(f"{cell}.{name}", 0) for cell in own for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
        recurrent = [(f"{cell}.weight_hh_l0", 1) for cell in own]
        readers = [(f"{cell}.weight_ih_l0", 1) for cell in following]
        if isinstance(model, RNNForSeq2SeqLM):
            weights += [(f"begin.{number}.{name}", 0) for name in ("weight", "bias")]
            readers += [(f"begin.{each}.weight", 1) for each in range(last + 1) if number == last]
            readers += [("sought.weight", dim) for dim in (0, 1) if number == last] + [("read.weight", 1)] * (number == last)
        if number == last:
            readers.append(("said.weight" if isinstance(model, Writing) else "head.weight", 1))
        scores = tuple(f"{cell}.{name}" for cell in own for name in ("weight_ih_l0", "weight_hh_l0"))
        groups.append({"setting": ("widths", number), "tensors": (*weights, *recurrent, *readers), "scores": scores})
    return groups


def _cells(model: RNN, number: int) -> list[str]:
    """Paths of the cells of a layer; none behind the last."""
    if number == len(model.config.widths):
        return []
    ahead, back = f"body.layers.{number}.ahead", f"body.layers.{number}.back"
    decoder = [f"decoder.layers.{number}.ahead"] if isinstance(model, RNNForSeq2SeqLM) else []
    return [ahead, *[back] * model.config.bidirectional, *decoder]
