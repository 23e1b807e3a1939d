"""What a model calculates while it learns to be rounded: what its artefact does, with the gradient of a model that is not."""

import copy

import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import ImageClassifierOutput

from penjing.core.contracts import Batch
from penjing.core.errors import ModelError, OptionError
from penjing.core.find import find, names
from penjing.core.runtime import Runtime
from penjing.engine import load, rewriting
from penjing.engine.rounded import rounded, straight_through
from penjing.maths import few_bits
from penjing.methods.quantize import int8, rtn
from penjing.methods.quantize._weights import dtype_of_table, plan, weight_of

SHAPE = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 256, "num_labels": 3}


def bert():
    torch.manual_seed(0)
    return BertForSequenceClassification(BertConfig(**SHAPE, vocab_size=1500, initializer_range=0.1)).eval()


def texts():
    ids = torch.randint(5, 1500, (6, 12), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


class SmallNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.Linear(16, 3)
        nn.init.uniform_(self.norm.weight, 0.5, 2.0)
        self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, pixel_values):
        return ImageClassifierOutput(logits=self.head(torch.relu(self.norm(self.conv(pixel_values))).mean((2, 3))))


def artefact(model, inputs, folder, engine="onnxruntime", bits=8):
    batch = Batch(inputs, {}, torch.arange(len(next(iter(inputs.values())))))
    int8.apply(model, [batch], int8.Options(bits), engine, folder)
    return folder / "model.onnx"


@pytest.mark.parametrize(("bits", "embedding_bits"), [(7, 8), (8, 8), (8, 4)])
def test_the_rounded_model_gives_the_logits_of_the_int8_artefact(bits, embedding_bits, tmp_path, monkeypatch):
    monkeypatch.setattr(int8, "overflows", lambda: bits == 7)
    model, inputs, settings = bert(), texts(), int8.Options(embedding_bits)
    session = onnxruntime.InferenceSession(artefact(model, inputs, tmp_path, bits=embedding_bits), providers=["CPUExecutionProvider"])
    wanted = torch.from_numpy(session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0])
    with torch.inference_mode():
        whole = model(**inputs).logits
        with rounded(model, int8.rounding(model, settings, "onnxruntime", torch.float32)):
            found = model(**inputs).logits
    assert (found - wanted).abs().max() < 1e-3 * wanted.abs().max() < (whole - wanted).abs().max()


def test_convolutions_have_the_int8_weights_of_the_artefact_although_a_norm_is_folded_into_these(tmp_path):
    model = SmallNet().eval()
    path = artefact(model, {"pixel_values": torch.randn(8, 1, 8, 8)}, tmp_path)
    stored = [numpy_helper.to_array(each).copy() for each in onnx.load(path).graph.initializer if len(each.dims) == 4]
    weight = int8.rounding(model, int8.Options(), "onnxruntime", torch.float32)["conv"].weight(model.conv.weight)
    factor = model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()
    whole = torch.from_numpy(stored[0]).float()
    scale = (weight * factor[:, None, None, None]).abs().amax((1, 2, 3)) / whole.abs().amax((1, 2, 3))
    torch.testing.assert_close(whole * scale[:, None, None, None], weight * factor[:, None, None, None])


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 2**20])
def test_rtn_has_bit_for_bit_the_weights_that_it_writes(bits, group, tmp_path):
    pytest.importorskip("compressed_tensors")
    model, settings = bert(), rtn.Options(bits=bits, group=group)
    batch = Batch(texts(), {}, torch.arange(6))
    task = find("tasks", "text-classification").TASK(["a", "b", "c"])
    way = rewriting.from_memory(load.Loaded(task, model, None), tmp_path, batch, Runtime(quiet=True))
    rtn.rewrite(way, settings)
    roundings = rtn.rounding(model, settings, "torch", torch.float32)
    for path, layer in plan(model, settings).items():
        assert torch.equal(roundings[path].weight(model.get_submodule(path).weight), weight_of(way.written(path), layer))
    table = "bert.embeddings.word_embeddings"
    assert dtype_of_table(model.get_submodule(table).weight, torch.float32) == torch.bfloat16
    assert torch.equal(roundings[table].weight(model.get_submodule(table).weight), way.written(table)["weight"].float())


def test_gradients_are_those_of_a_model_that_has_the_rounded_weights():
    model, inputs = bert(), texts()
    roundings = rtn.rounding(model, rtn.Options(bits=4, group=32), "torch", torch.float32)
    other = copy.deepcopy(model)
    for path, rounding in roundings.items():
        layer = other.get_submodule(path)
        layer.weight.data = rounding.weight(layer.weight.data)
    with rounded(model, roundings):
        model(**inputs).logits.square().sum().backward()
    other(**inputs).logits.square().sum().backward()
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters()):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_the_gradient_passes_straight_through_in_the_dtype_of_the_value():
    for dtype in (torch.float32, torch.bfloat16):
        value = torch.linspace(-1, 1, 9).to(dtype).requires_grad_()
        found = straight_through(value, lambda each: (4 * each).round() / 4)
        (found * torch.arange(9)).sum().backward()
        assert found.dtype == dtype and torch.equal(value.grad, torch.arange(9).to(dtype))
        assert straight_through(value, None) is value


def test_a_layer_of_gpt2_whose_weight_lies_the_other_way_round_has_a_scale_for_each_output():
    model = GPT2LMHeadModel(GPT2Config(n_embd=64, n_layer=1, n_head=2, vocab_size=200)).eval()
    roundings = int8.rounding(model, int8.Options(), "onnxruntime", torch.float32)
    layer, inputs = model.transformer.h[0].mlp.c_fc, torch.randn(3, 64)
    weight = roundings["transformer.h.0.mlp.c_fc"].weight(layer.weight)
    assert weight.unique(dim=0).shape == (64, 256) and all(len(column.unique()) <= 64 for column in weight.T)
    steps = inputs.abs().amax(-1, keepdim=True) / 127
    with rounded(model, roundings):
        found = layer(inputs)
    torch.testing.assert_close(found, F.linear((inputs / steps).round() * steps, weight.T, layer.bias))


def test_groups_of_inputs_share_a_scale_in_openvino():
    roundings = int8.rounding(bert(), int8.Options(), "openvino", torch.float32)
    inputs = torch.randn(5, 128) * torch.cat([torch.ones(64), torch.full((64,), 100.0)])
    step = inputs[:, :64].abs().amax(-1, keepdim=True) / 127
    found = roundings["bert.encoder.layer.0.attention.self.query"].input(inputs)
    torch.testing.assert_close(found[:, :64], (inputs[:, :64] / step).round() * step)


def test_afterwards_the_model_is_what_it_was_whatever_happened():
    model = bert()
    before, kinds = model.state_dict(), [type(module) for module in model.modules()]
    attributes = [set(vars(module)) for module in model.modules()]
    with pytest.raises(KeyboardInterrupt), rounded(model, rtn.rounding(model, rtn.Options(), "torch", torch.float32)):
        assert model.state_dict().keys() == before.keys() and copy.deepcopy(model)(**texts()).logits.isfinite().all()
        raise KeyboardInterrupt
    assert [type(module) for module in model.modules()] == kinds and [set(vars(module)) for module in model.modules()] == attributes


def test_what_cannot_be_learnt_with_is_refused():
    with pytest.raises(OptionError, match=r"(?s)--high-share gives 8 bits.*leave --high-share out, or --epochs"):
        rtn.rounding(bert(), rtn.Options(high_share=0.1), "torch", torch.float32)
    with pytest.raises(ModelError, match="has no layer that int8 would make smaller"):
        int8.rounding(nn.Sequential(nn.Linear(4, 4)), int8.Options(), "onnxruntime", torch.float32)


@pytest.mark.parametrize("name", names("methods.quantize"))
def test_every_method_can_be_learnt_with_or_says_why_not(name):
    assert len({"rounding", "NOT_LEARNT"} & set(vars(find("methods.quantize", name)))) == 1


def test_the_largest_of_a_group_of_few_bits_keeps_its_sign():
    weight = torch.tensor([[7.5, -7.5, 1.0, 0.0]])
    assert few_bits.rounded(weight, few_bits.scales(weight, 4, 4), 4).tolist() == [[7, -8, 1, 0]]
