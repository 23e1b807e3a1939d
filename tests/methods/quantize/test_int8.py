"""int8 artefacts against the torch model they were made from, and against integer arithmetic done by hand."""

import copy
import sys
from dataclasses import dataclass

import numpy
import onnx
import onnxruntime
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel
from transformers.modeling_outputs import ImageClassifierOutput

from penjing.core.contracts import Batch
from penjing.core.errors import DataError, MissingExtra, ModelError
from penjing.methods.quantize import int8
from penjing.methods.quantize._graph import SMALL


@dataclass
class Made:
    """A model, the facts of its artefact, the graph and a session over it."""

    model: nn.Module
    facts: dict
    path: str

    @property
    def graph(self):
        return onnx.load(self.path).graph

    def __call__(self, **inputs):
        """(N, C) logits of the artefact."""
        session = onnxruntime.InferenceSession(self.path, providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0])


class SmallNet(nn.Module):
    """Two blocks as in a residual network, with batch norms that are no identity."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.first, self.norm1 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.norm2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, 5)
        for norm in (self.norm, self.norm1, self.norm2):
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2.0)

    def forward(self, pixel_values):
        maps = torch.relu(self.norm(self.stem(pixel_values)))
        maps = torch.relu(self.norm1(self.first(maps)) + maps)
        maps = torch.relu(self.norm2(self.second(maps)))
        return ImageClassifierOutput(logits=self.head(maps.mean((2, 3))))


class OneLayer(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, values):
        return ImageClassifierOutput(logits=self.layer(values[:, :, 0, 0]))


class OneTable(nn.Module):
    def __init__(self, entries, width):
        super().__init__()
        self.table = nn.Embedding(entries, width)

    def forward(self, input_ids):
        return ImageClassifierOutput(logits=self.table(input_ids)[:, 0])


def texts(rows, tokens, seed=0):
    """Random ids; the second row, where there is one, is padded from its third token on."""
    ids = torch.randint(5, 1500, (rows, tokens), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    if rows > 1:
        ids[1, 3:], mask[1, 3:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def images(rows, seed=0):
    return {"pixel_values": torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(seed))}


def batches(*inputs):
    return [Batch(each, {}, torch.arange(len(next(iter(each.values()))))) for each in inputs]


def make(model, inputs, folder, bits=8):
    folder.mkdir(exist_ok=True)
    facts = int8.apply(model.eval(), batches(*inputs), int8.Options(embedding_bits=bits), "onnxruntime", folder)
    return Made(model, facts, str(folder / "model.onnx"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=1500, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256, num_labels=3,
        initializer_range=0.1,
    )  # fmt: skip
    return make(BertForSequenceClassification(config), [texts(4, 12)], tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    return make(SmallNet(), [images(64), images(64, seed=1)], tmp_path_factory.mktemp("net"))


@torch.inference_mode()
def compare(made, inputs):
    """Logits of the artefact agree with torch: in direction, and in the answer wherever torch has a margin."""
    true, found = made.model(**inputs).logits, made(**inputs)
    assert torch.cosine_similarity(true.flatten(), found.flatten(), 0) > 0.999
    best = true.topk(2).values
    sure = best[:, 0] - best[:, 1] > 0.1 * true.std()
    assert sure.float().mean() > 0.7
    assert (true.argmax(-1) == found.argmax(-1))[sure].all()


def test_a_transformer_answers_as_in_torch_on_unseen_rows_and_other_shapes(bert):
    assert bert.facts["scheme"] == "dynamic"
    compare(bert, texts(64, 12, seed=1))
    compare(bert, texts(7, 31, seed=2))
    assert bert(**texts(1, 5)).shape == (1, 3)


def test_a_convolutional_network_answers_as_in_torch_on_unseen_rows(net):
    assert net.facts["scheme"] == "static"
    compare(net, images(100, seed=2))
    assert net(**images(1)).shape == (1, 5)


def test_a_row_of_a_transformer_does_not_depend_on_its_neighbours(bert):
    """One scale a batch, as in onnxruntime's own dynamic quantization, moves logits by tenths."""
    inputs = texts(8, 12, seed=3)
    together = bert(**inputs)
    alone = torch.cat([bert(**{name: value[i : i + 1] for name, value in inputs.items()}) for i in range(8)])
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=0)
    short = bert(**{name: value[1:2, :3] for name, value in inputs.items()})
    torch.testing.assert_close(together[1:2], short, atol=2e-3, rtol=0)
    assert bert.facts["rows_interact"] is False


def test_every_large_table_of_a_transformer_is_int8_in_the_file(bert):
    tables = [t for t in bert.graph.initializer if numpy.prod(t.dims) >= SMALL]
    assert {t.data_type for t in tables} == {onnx.TensorProto.INT8}
    linears = sum(isinstance(m, nn.Linear) and m.weight.numel() >= SMALL for m in bert.model.modules())
    embeddings = sum(isinstance(m, nn.Embedding) and m.weight.numel() >= SMALL for m in bert.model.modules())
    assert len(tables) == linears + embeddings
    assert sum(bert.facts["quantized"].values()) == linears + embeddings
    assert bert.facts["quantized"]["Gather"] == embeddings
    assert bert.facts["int8_share"] > 0.99
    assert {entry["why"] for entry in bert.facts["left_fp32"]} == {"small"}


def test_a_head_that_is_the_embeddings_is_one_table_of_the_file_whatever_its_bits(tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=64, n_head=2, vocab_size=1500, n_positions=32)).eval()
    read = {name: value for name, value in texts(4, 12).items() if name != "token_type_ids"}
    for bits in (8, 4):
        made = make(model, [read], tmp_path / f"{bits}", bits)
        whole = [table for table in made.graph.initializer if table.data_type == onnx.TensorProto.INT8]
        assert [[*table.dims] for table in whole].count([1500, 64]) == 1 and not any([*table.dims] == [64, 1500] for table in whole)
        past = {f"past_key_values.0.{part}": torch.zeros(4, 2, 0, 32) for part in ("key", "value")}
        with torch.inference_mode():
            true, found = model(**read).logits, made(**read, **past)
        there = read["attention_mask"].bool()
        assert torch.cosine_similarity(true[there], found[there], -1).min() > 0.99 and made.facts["writes"]


def test_every_convolution_is_int8_in_the_file_and_batch_norms_are_gone(net):
    operations = [node.op_type for node in net.graph.node]
    assert operations.count("QLinearConv") == 3
    assert not {"Conv", "BatchNormalization"} & set(operations)
    kernels = [t for t in net.graph.initializer if len(t.dims) == 4]
    assert [t.data_type for t in kernels] == [onnx.TensorProto.INT8] * 3
    assert net.facts["quantized"] == {"Conv": 3, "Gemm": 1}
    assert net.facts["left_fp32"] == []


def test_the_artefact_is_one_file_of_less_than_a_third_of_fp32(bert):
    fp32_bytes = sum(4 * p.numel() for p in bert.model.parameters())
    assert len(onnx.load(bert.path, load_external_data=False).SerializeToString()) < fp32_bytes / 3


def test_inputs_keep_their_names_and_open_axes(bert, net):
    axes = {i.name: [d.dim_param for d in i.type.tensor_type.shape.dim] for i in bert.graph.input}
    assert axes == {name: ["batch", "sequence"] for name in ("input_ids", "attention_mask", "token_type_ids")}
    (image,) = net.graph.input
    assert image.name == "pixel_values"
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["batch", 1, 8, 8]
    assert [o.name for o in (*bert.graph.output, *net.graph.output)] == ["logits", "logits"]


def test_a_linear_layer_is_the_integer_product_of_token_and_column_codes(tmp_path):
    """y = sum_k round(127 x_k / m) round(127 w_kn / c_n) · m c_n / 127² + b_n, with m, c_n the largest of the token and of the column."""
    torch.manual_seed(0)
    values = torch.randn(6, 96, 1, 1) * torch.tensor([0.01, 1, 100, 1, 0, 1]).view(-1, 1, 1, 1)  # tokens of very different size
    made = make(OneLayer(96, 100), [{"values": values}], tmp_path)
    x, w = values[:, :, 0, 0].double().numpy(), made.model.layer.weight.detach().double().numpy().T
    m, c = numpy.maximum(abs(x).max(1, keepdims=True), 1e-20), abs(w).max(0)
    expected = numpy.rint(127 * x / m) @ numpy.rint(127 * w / c) * m * c / 127**2 + made.model.layer.bias.detach().double().numpy()
    numpy.testing.assert_allclose(made(values=values).numpy(), expected, rtol=1e-5, atol=1e-4)


def test_an_embedding_is_at_most_half_a_step_of_its_own_row_away(tmp_path):
    """Codes go from -127 to 127 in each row, so a step is the row's largest entry / 127; row 3 is a thousand times larger, row 4 zero."""
    torch.manual_seed(0)
    model = OneTable(300, 40)
    with torch.no_grad():
        model.table.weight[3] *= 1000
        model.table.weight[4] = 0
    made = make(model, [{"input_ids": torch.arange(8).view(4, 2)}], tmp_path)
    true, found = model.table.weight.detach(), made(input_ids=torch.arange(300).view(-1, 1))
    step = true.abs().amax(1, keepdim=True) / 127
    assert ((true - found).abs() <= 0.5001 * step).all()
    assert ((true - found).abs() > 0.4 * step).any()  # it is not the fp32 table


@pytest.mark.parametrize("width", [64, 40])
def test_an_embedding_of_four_bits_is_at_most_half_a_step_of_its_own_block_away(tmp_path, width):
    """Codes go from -7 to 7 in each 32 neighbours of a row; a width that these do not divide keeps 8 bits."""
    torch.manual_seed(0)
    model = OneTable(300, width)
    with torch.no_grad():
        model.table.weight[3, :32] *= 1000
    made = make(model, [{"input_ids": torch.arange(8).view(4, 2)}], tmp_path, bits=4)
    true, found = model.table.weight.detach(), made(input_ids=torch.arange(300).view(-1, 1))
    if width == 64:
        blocks, apart = true.view(300, 2, 32), (true - found).abs().view(300, 2, 32)
        step = blocks.abs().amax(-1, keepdim=True) / 7
        assert (apart <= 0.5001 * step).all() and (apart > 0.4 * step).any()
        assert (tmp_path / "model.onnx").stat().st_size < 300 * 64 * 0.7
    else:
        assert ((true - found).abs() <= 0.5001 * true.abs().amax(1, keepdim=True) / 127).all()


def test_a_token_of_zeros_gives_zeros(tmp_path):
    """Its largest number, which the others are divided by, is 0."""
    values = torch.randn(4, 128, 1, 1)
    made = make(OneLayer(128, 100), [{"values": values}], tmp_path)
    values[1] = 0
    true, found = made.model(values=values).logits, made(values=values)
    torch.testing.assert_close(found[1], true[1], rtol=0, atol=1e-6)
    assert torch.isfinite(found).all()


def test_processors_that_overflow_get_weights_of_seven_bits(tmp_path, monkeypatch):
    """255 · 64 · 2 is the largest sum of two products with |w| <= 64, and fits 16 bits."""
    monkeypatch.setattr(int8, "overflows", lambda: True)
    made = make(OneLayer(96, 100), [{"values": torch.randn(4, 96, 1, 1)}], tmp_path)
    (table,) = [onnx.numpy_helper.to_array(t) for t in made.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert 60 <= abs(table.astype(int)).max() <= 64
    assert made.facts["reduce_range"] is True


def test_the_same_model_gives_the_same_bytes_quietly_and_stays_as_it_was(net, tmp_path, capfd):
    before = copy.deepcopy(net.model.state_dict())
    net.model.train()
    int8.apply(net.model, batches(images(64), images(64, seed=1)), int8.Options(), "onnxruntime", tmp_path)
    assert net.model.training
    assert all(torch.equal(value, before[name]) for name, value in net.model.state_dict().items())
    assert onnx.load(tmp_path / "model.onnx") == onnx.load(net.path)
    assert capfd.readouterr() == ("", "")


def test_no_calibration_row_is_said(tmp_path):
    with pytest.raises(DataError, match="no row to calibrate on"):
        int8.apply(SmallNet(), [], int8.Options(), "onnxruntime", tmp_path)


def test_a_model_too_large_for_one_file_is_refused_before_any_work(tmp_path):
    with torch.device("meta"):
        large = nn.Linear(25_000, 25_000)
    with pytest.raises(ModelError, match=r"2,500,100,000 bytes in fp32"):
        int8.apply(large, batches({"values": torch.zeros(1, 25_000)}), int8.Options(), "onnxruntime", tmp_path)


def test_a_model_without_a_layer_worth_it_is_refused(tmp_path):
    with pytest.raises(ModelError, match="OneLayer has no layer that int8 would make smaller"):
        int8.apply(OneLayer(4, 2), batches({"values": torch.zeros(2, 4, 1, 1)}), int8.Options(), "onnxruntime", tmp_path)
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_library_is_named_with_the_command_that_installs_it(library, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtra, match=rf"(?s){library}.*pip install 'penjing\[onnx\]'"):
        int8.apply(SmallNet(), batches(images(2)), int8.Options(), "onnxruntime", tmp_path)
