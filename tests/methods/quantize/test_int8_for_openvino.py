"""int8 artefacts of openvino against the torch model they were made from, against arithmetic done by hand, and against onnxruntime's."""

import importlib.util
import sys

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from penjing.core.errors import MissingExtra
from penjing.core.openvino import openvino
from penjing.methods.quantize import int8
from tests.methods.quantize.test_int8 import OneLayer, OneTable, SmallNet, batches, images, make, texts

if importlib.util.find_spec("openvino") is None:
    pytest.skip("openvino is not installed: pip install 'penjing[openvino]'", allow_module_level=True)


class Opened:
    """What apply wrote, opened as any user of openvino would."""

    def __init__(self, model, inputs, folder, bits=8):
        self.model, self.folder = model, folder
        self.facts = int8.apply(model.eval(), batches(*inputs), int8.Options(bits), "openvino", folder)
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self.compiled = openvino().Core().compile_model(str(folder / "openvino_model.xml"), "CPU", settings)

    def __call__(self, **inputs):
        """(N, C) logits."""
        takes = {port.any_name for port in self.compiled.inputs}
        return torch.from_numpy(self.compiled({name: inputs[name].numpy() for name in takes})["logits"])


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1500, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, num_labels=3,
        initializer_range=0.1,
    )  # fmt: skip
    return Opened(BertForSequenceClassification(config), [texts(4, 12)], tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    return Opened(SmallNet(), [images(64), images(64, seed=1)], tmp_path_factory.mktemp("net"))


@pytest.mark.parametrize("inputs", [texts(64, 12, seed=1), texts(7, 31, seed=2), texts(1, 5)])
@torch.inference_mode()
def test_a_transformer_answers_as_in_torch_on_unseen_rows_and_other_shapes(bert, inputs):
    true, found = bert.model(**inputs).logits, bert(**inputs)
    assert torch.cosine_similarity(true.flatten(), found.flatten(), 0) > 0.999
    assert (true - found).abs().max() < 0.1 * true.std(correction=0)


@torch.inference_mode()
def test_a_convolutional_network_answers_as_in_torch_and_as_onnxruntime_does(net, tmp_path):
    inputs = images(100, seed=2)
    other = make(net.model, [images(64), images(64, seed=1)], tmp_path)
    true, found = net.model(**inputs).logits, net(**inputs)
    assert torch.cosine_similarity(true.flatten(), found.flatten(), 0) > 0.999
    torch.testing.assert_close(found, other(**inputs), atol=0.1 * true.std().item(), rtol=0)


def test_inputs_keep_their_names_and_open_axes(bert, net):
    ports = {port.any_name: str(port.partial_shape) for port in bert.compiled.inputs}
    assert ports == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "[?,?]")
    assert [str(port.partial_shape) for port in net.compiled.inputs] == ["[?,1,8,8]"]


def test_layers_run_in_8_bits_where_the_processor_can(bert, net):
    """Precisions as the engine tells them of the graph that it runs."""
    if "INT8" not in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("openvino has no int8 kernels for this processor")
    kinds = {"Convolution", "FullyConnected"}
    nodes = [op.get_rt_info() for made in (bert, net) for op in made.compiled.get_runtime_model().get_ops()]
    ran = [node["runtimePrecision"].astype(str) for node in nodes if node["layerType"].astype(str) in kinds]
    assert len(ran) >= 17 and sum(kind in ("i8", "u8") for kind in ran) >= 16


def test_a_linear_layer_is_within_a_step_of_token_and_column_codes(tmp_path):
    """|y - Wx - b| <= sum_k of half a step of a weight times |x_k|, and of half a step of its group of inputs times |w|."""
    torch.manual_seed(0)
    values = torch.randn(6, 128, 1, 1) * torch.tensor([0.01, 1, 100, 1, 0, 1]).view(-1, 1, 1, 1)
    made = Opened(OneLayer(128, 100), [{"values": values}], tmp_path)
    x, w, b = values[:, :, 0, 0].double(), made.model.layer.weight.detach().double(), made.model.layer.bias.detach().double()
    of_weights = x.abs().sum(1, keepdim=True) * (w.abs().amax(1) / 127 / 2)
    step = x.view(6, -1, int8.GROUP).abs().amax(2).repeat_interleave(int8.GROUP, 1) / 127
    off = (made(values=values).double() - x @ w.T - b).abs()
    assert (off <= 1.1 * (of_weights + step / 2 @ (w.abs().T * 1.01)) + 1e-6).all()
    assert off.max() > 1e-3  # it is not the fp32 layer


def test_an_embedding_is_at_most_half_a_step_of_its_own_row_away(tmp_path):
    torch.manual_seed(0)
    made = Opened(OneTable(300, 40), [{"input_ids": torch.arange(8).view(4, 2)}], tmp_path)
    true, found = made.model.table.weight.detach(), made(input_ids=torch.arange(300).view(-1, 1))
    step = true.abs().amax(1, keepdim=True) / 127
    assert ((true - found).abs() <= 0.5001 * step).all()
    assert ((true - found).abs() > 0.4 * step).any()  # it is not the fp32 table


def test_an_embedding_of_four_bits_gives_the_numbers_that_onnxruntime_gives(tmp_path):
    torch.manual_seed(0)
    table, ids = OneTable(300, 64), torch.arange(300).view(-1, 1)
    theirs = make(table, [{"input_ids": ids[:8].view(4, 2)}], tmp_path, bits=4)
    ours = Opened(table, [{"input_ids": ids[:8].view(4, 2)}], tmp_path, bits=4)
    torch.testing.assert_close(ours(input_ids=ids), theirs(input_ids=ids), rtol=0, atol=0)
    assert (tmp_path / "openvino_model.bin").stat().st_size < 300 * 64 * 0.7


def test_a_weight_that_two_layers_share_is_stored_once(tmp_path):
    class Twice(OneLayer):
        def forward(self, values):
            given = super().forward(values)
            given.logits = self.layer(given.logits)
            return given

    torch.manual_seed(0)
    values = torch.randn(4, 128, 1, 1)
    made = Opened(Twice(128, 128), [{"values": values}], tmp_path)
    assert (tmp_path / "openvino_model.bin").stat().st_size < 1.5 * 128 * 128
    torch.testing.assert_close(made(values=values), made.model(values).logits, atol=0.02, rtol=0)


def test_the_same_model_gives_the_same_bytes_quietly(net, tmp_path, capfd):
    int8.apply(net.model, batches(images(64), images(64, seed=1)), int8.Options(), "openvino", tmp_path)
    for name in ("openvino_model.xml", "openvino_model.bin"):
        assert (tmp_path / name).read_bytes() == (net.folder / name).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_linear_layers_keep_their_8_bits_where_sums_overflow(tmp_path, monkeypatch):
    """Groups are only quantized where the processor adds up products in one step, which does not overflow."""
    monkeypatch.setattr(int8, "overflows", lambda: True)
    assert Opened(OneLayer(96, 100), [{"values": torch.randn(4, 96, 1, 1)}], tmp_path).facts["reduce_range"] is False


def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"(?s)openvino.*pip install 'penjing\[openvino\]'"):
        int8.apply(nn.Sequential(), batches(images(2)), int8.Options(), "openvino", tmp_path)
