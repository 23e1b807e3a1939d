"""Larger weights for larger inputs: nearer outputs, and the same model but for rounding."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM, ViTConfig, ViTForImageClassification

from penjing.core.contracts import Batch
from penjing.core.errors import ModelError
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.engine.load import Loaded
from penjing.engine.rewriting import from_memory
from penjing.maths.few_bits import restored
from penjing.methods.quantize import awq
from penjing.methods.quantize._weights import Layer, nearest, plan, weight_of

pytest.importorskip("compressed_tensors")
SHAPE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256}
IDS = torch.randint(0, 100, (8, 16), generator=torch.Generator().manual_seed(0))


def rewriter(model, inputs, folder):
    batch = Batch(inputs, {}, torch.arange(8))
    return from_memory(Loaded(find("tasks", "text-generation").TASK(), model.eval(), None), folder, batch, Runtime(quiet=True))


@pytest.mark.parametrize("seed", range(3))
def test_outputs_on_inputs_of_which_a_few_are_large_are_nearer_than_by_rounding_alone(seed):
    draw = torch.Generator().manual_seed(seed)
    weight, inputs, layer = torch.randn(32, 128, generator=draw), torch.randn(300, 128, generator=draw), Layer(4, 128, 128)
    inputs[:, :4] *= 30
    power, factors = awq.factor([(layer, weight)], inputs, torch.float32)

    def error(by):
        return ((inputs / by) @ restored(*nearest(weight * by, layer, torch.float32)).T - inputs @ weight.T).square().sum()

    assert power > 0 and error(factors) < 0.5 * error(torch.ones(128))


def test_inputs_of_one_size_leave_weights_as_they_are():
    inputs = torch.ones(50, 64)
    _, factors = awq.factor([(Layer(4, 64, 64), torch.randn(8, 64, generator=torch.Generator().manual_seed(0)))], inputs, torch.float32)
    torch.testing.assert_close(factors, torch.ones(64))


def test_norms_of_llama_and_of_an_image_transformer_are_read_by_layers_alone_but_for_the_last(tmp_path):
    torch.manual_seed(0)
    llama = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, vocab_size=100))
    found = rewriter(llama, {"input_ids": IDS}, tmp_path).readers(plan(llama, awq.Options()))
    assert found["model.layers.1.post_attention_layernorm"] == [f"model.layers.1.mlp.{name}_proj" for name in ("gate", "up")]
    assert found["model.layers.0.input_layernorm"] == [f"model.layers.0.self_attn.{name}_proj" for name in "qkv"]
    vit = ViTForImageClassification(ViTConfig(**SHAPE, image_size=16, patch_size=8, num_labels=3))
    found = rewriter(vit, {"pixel_values": torch.rand(8, 3, 16, 16)}, tmp_path / "vit").readers(plan(vit, awq.Options()))
    assert len(found) == 4 and {len(paths) for paths in found.values()} == {1, 3}


def test_a_norm_whose_output_goes_on_beside_the_layers_stays(tmp_path):
    bert = BertForSequenceClassification(BertConfig(**SHAPE, vocab_size=100))
    with pytest.raises(ModelError, match=r"(?s)has no norm that only linear layers read.*--method gptq"):
        awq.rewrite(rewriter(bert, {"input_ids": IDS}, tmp_path), awq.Options())


def test_before_it_is_rounded_the_scaled_model_is_the_same(tmp_path, monkeypatch):
    """With 2^8 numbers a weight, and norms that were divided, the answers are those of the parent."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=2, vocab_size=100))
    for name, value in model.named_parameters():
        if name.endswith("layernorm.weight"):
            value.data[:5] = 20
    way = rewriter(model, {"input_ids": IDS}, tmp_path)
    facts = awq.rewrite(way, awq.Options(bits=8))
    assert facts["scaled_layers"] == 10 and max(facts["powers"].values()) > 0
    with torch.inference_mode():
        before = model(input_ids=IDS).logits
        for path in way.modules("reading"):
            module, written = model.get_submodule(path), way.written(path)
            layer = plan(model, awq.Options(bits=8)).get(path)
            module.weight.data = weight_of(written, layer) if layer else written["weight"].float()
        after = model(input_ids=IDS).logits
    assert not torch.equal(model.model.layers[0].input_layernorm.weight, torch.ones(128))
    assert (after - before).square().mean().sqrt() < 0.05 * before.std()
