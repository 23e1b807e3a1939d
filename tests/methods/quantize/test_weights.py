"""Which layers are stored in few bits, and how config.json says so."""

import sys

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    ResNetConfig,
    ResNetForImageClassification,
)

from penjing.core.errors import MissingExtra, ModelError
from penjing.methods.quantize import _weights
from penjing.methods.quantize._weights import Layer, Options

pytest.importorskip("compressed_tensors")
SHAPE = {"hidden_size": 128, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 320, "vocab_size": 100}


def llama(**more):
    return LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, **more))


def test_a_head_has_eight_bits_and_a_layer_that_groups_do_not_divide_one_scale_an_output():
    found = _weights.plan(llama(tie_word_embeddings=False), Options())
    assert found["lm_head"] == Layer(8, 128, 128) and found["model.layers.0.mlp.up_proj"] == Layer(4, 128, 128)
    assert found["model.layers.0.mlp.down_proj"] == Layer(4, 320, 320) and len(found) == 8


def test_a_head_that_is_the_embeddings_and_small_layers_stay():
    assert "lm_head" not in _weights.plan(llama(tie_word_embeddings=True), Options())
    bert = BertForSequenceClassification(BertConfig(**SHAPE))
    assert {path.rsplit(".", 1)[-1] for path in _weights.plan(bert, Options())} == {"query", "key", "value", "dense"}


def test_config_names_unusual_layers_first_and_leaves_out_the_others():
    model = llama(tie_word_embeddings=False)
    layers = _weights.plan(model, Options(group=64))
    config = _weights.facts_of(model, layers, Options(group=64))["config"]["quantization_config"]
    schemes = [(each["weights"]["num_bits"], each["targets"]) for each in config["config_groups"].values()]
    assert schemes == [(8, ["lm_head"]), (4, ["Linear"])] and config["ignore"] == []


def test_embeddings_are_stored_in_16_bits_where_the_rest_has_32():
    class Fake:
        model, dtype = llama(), torch.float32

        def take(self, path):
            return dict(self.model.get_submodule(path).named_parameters())

    assert {value.dtype for _, value in _weights._left(Fake(), "model.embed_tokens")} == {torch.bfloat16}
    assert {value.dtype for _, value in _weights._left(Fake(), "model.norm")} == {torch.float32}


def test_a_model_of_convolutions_is_refused():
    model = ResNetForImageClassification(ResNetConfig(hidden_sizes=[8, 8], depths=[1, 1], embedding_size=8, layer_type="basic"))
    with pytest.raises(ModelError, match=r"(?s)ResNetForImageClassification has no layer.*linear layer.*next.*--method bf16"):
        _weights.plan(model, Options())


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(MissingExtra, match=r"penjing\[quant\]"):
        _weights.plan(llama(), Options())


def test_rounding_some_rows_at_a_time_gives_what_all_at_once_give(monkeypatch):
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    whole = _weights.nearest(weight, Layer(4, 16, 64), torch.bfloat16)
    monkeypatch.setattr(_weights, "AT_ONCE", 3 * 64)
    for one, other in zip(whole, _weights.nearest(weight, Layer(4, 16, 64), torch.bfloat16)):
        assert torch.equal(one, other)


def test_layers_whose_outputs_rounding_changes_most_get_eight_bits_up_to_the_share():
    class Run:
        """Layers a, b, c of like size, of which b has one input that is large where a weight is small beside another in its group."""

        dtype = torch.float32
        model = torch.nn.ModuleDict({name: torch.nn.Linear(128, 128) for name in "abc"})

        def run(self, visit, paths):
            draw = torch.Generator().manual_seed(0)
            for path in paths:
                inputs, weight = torch.randn(64, 128, generator=draw), torch.randn(128, 128, generator=draw)
                if path == "b":
                    inputs[:, 0], weight[:, 0], weight[:, 1] = 50.0, 0.3, 9.0
                assert torch.equal(visit(path, weight, inputs), weight)

    found = _weights.chosen(Run(), Options(high_share=0.4))
    assert {path: layer.bits for path, layer in found.items()} == {"a": 4, "b": 8, "c": 4}
    assert {layer.bits for layer in _weights.chosen(Run(), Options(high_share=1.0)).values()} == {8}
    assert {layer.bits for layer in _weights.chosen(Run(), Options()).values()} == {4}
