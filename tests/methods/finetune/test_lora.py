"""Low-rank updates: what they may change, and that the merged weights say the same as weights and updates apart."""

import sys

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, DistilBertConfig, LlamaConfig, ViTConfig

from penjing.core.contracts import Anatomy
from penjing.core.errors import MissingExtra
from penjing.engine.anatomy import anatomy
from penjing.methods.finetune.lora import Options, apply, fits

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TOKENS = {"input_ids": torch.arange(1, 9).view(2, 4)}
MODELS = {
    "distilbert": (
        AutoModelForSequenceClassification,
        DistilBertConfig(vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=24),
        TOKENS,
    ),
    "llama": (AutoModelForSequenceClassification, LlamaConfig(vocab_size=30, num_key_value_heads=2, pad_token_id=0, **SMALL), TOKENS),
    "vit": (AutoModelForImageClassification, ViTConfig(image_size=8, patch_size=4, **SMALL), {"pixel_values": torch.rand(2, 3, 8, 8)}),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_merged_model_is_the_plain_one_with_updates_of_the_asked_rank_on_every_linear_of_its_blocks(name):
    auto, config, inputs = MODELS[name]
    torch.manual_seed(0)
    model = auto.from_config(config).eval()
    before, parts = {key: value.clone() for key, value in model.state_dict().items()}, anatomy(model)
    answered = model(**inputs).logits
    learner = apply(model, parts, Options(rank=2, alpha=6.0))
    torch.testing.assert_close(learner.model.eval()(**inputs).logits, answered)  # updates are zero at first
    with torch.no_grad():
        for key, weight in learner.model.named_parameters():
            if "lora_" in key:
                weight.normal_()
    apart = learner.model(**inputs).logits
    merged = learner.plain().eval()
    assert merged is model and merged.state_dict().keys() == before.keys()
    torch.testing.assert_close(merged(**inputs).logits, apart, atol=1e-4, rtol=1e-4)
    updated = {f"{path}.weight" for block in parts.linears for path in block}
    for key, value in merged.state_dict().items():
        assert torch.linalg.matrix_rank(value - before[key], rtol=1e-4) == 2 if key in updated else torch.equal(value, before[key]), key


def test_what_learns_are_the_updates_and_the_head():
    auto, config, _ = MODELS["distilbert"]
    model = auto.from_config(config)
    learner = apply(model, anatomy(model), Options(rank=2))
    sizes = {name: learner.model.get_parameter(name).numel() for name in learner.rates}
    wide = 4 * 2 * (16 + 16) + 2 * 2 * (16 + 24)  # attention, then the two of the feed-forward part, times the rank
    assert sum(size for name, size in sizes.items() if "lora_" in name) == 2 * wide
    assert sum(size for name, size in sizes.items() if "lora_" not in name) == (16 * 16 + 16) + (2 * 16 + 2)


def test_a_model_without_linears_in_blocks_does_not_fit():
    assert not fits(Anatomy(blocks=("layers.0",), head=("head",))) and not fits(Anatomy(linears=((), ())))


def test_without_peft_choosing_the_method_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match="peft") as caught:
        Options()
    assert caught.value.fix == "pip install 'penjing[lora]'"
