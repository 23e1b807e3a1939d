"""Recurrent cells in an artefact: rows of any length, weights rounded as said, and no more than that."""

import pytest
import torch
from torch import nn

from penjing.core.contracts import Batch
from penjing.engine.backends.onnxruntime import OnnxRuntimeBackend
from penjing.engine.backends.openvino import OpenVinoBackend
from penjing.engine.create import config_of
from penjing.families import rnn
from penjing.methods.quantize import int8
from penjing.methods.quantize._graph import SMALL


def rows(count, length):
    ids = torch.randint(0, 200, (count, length), generator=torch.Generator().manual_seed(count))
    mask = (torch.arange(length) < torch.tensor([[length], *[[1 + i] for i in range(count - 1)]])).long()
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


@torch.no_grad()
def rounded(model):
    """The model with each row of a table of SMALL numbers or more rounded to 127 steps of its largest."""
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            if isinstance(module, (nn.RNNBase, nn.Embedding)) and weight.numel() >= SMALL:
                step = weight.abs().amax(1, keepdim=True) / 127
                weight.copy_((weight / step).round() * step)
    return model


@pytest.mark.parametrize(
    ("cell", "engine"), [("rnn", "onnxruntime"), ("gru", "onnxruntime"), ("lstm", "onnxruntime"), ("lstm", "openvino")]
)
def test_an_artefact_answers_rows_of_any_length_as_torch_with_rounded_weights_does(cell, engine, tmp_path):
    torch.manual_seed(0)
    facts = {"labels": ["a", "b", "c"], "vocab_size": 200, "pad_token_id": 0, "cls_token_id": 2, "eos_token_id": 3}
    model = rnn.RNNForSequenceClassification(config_of(f"{cell}-mini", facts)).eval()
    made = int8.apply(model, [Batch(rows(2, 9), {}, torch.arange(2))], int8.Options(), engine, tmp_path)
    kind = cell.upper()
    assert made["quantized"] == {"Gather": 1, kind: 2} and made["fp32_cells"] == [kind]
    assert [(left["type"], left["why"]) for left in made["left_fp32"]] == [("Gemm", "small")]
    stored = sum(path.stat().st_size for path in tmp_path.glob("*model.[ob]*"))
    assert stored < 1.2 * sum(p.numel() for p in model.parameters())
    if engine == "onnxruntime":
        artefact = OnnxRuntimeBackend(str(tmp_path / "model.onnx"), 1, "int8")
    else:
        artefact = OpenVinoBackend(str(tmp_path / "openvino_model.xml"), 1, "int8")
    same = rounded(model)
    for batch in (rows(2, 9), rows(5, 13), rows(1, 1)):
        torch.testing.assert_close(artefact(**batch).logits, same(**batch).logits, rtol=1e-4, atol=1e-5)
