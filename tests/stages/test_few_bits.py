"""quantize for torch: smaller on disk and in memory, measured, asked and trained as any other directory."""

import random
import sys

import pytest

import penjing
from penjing.core.errors import MissingExtra, ModelError, OptionError, TaskError
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.engine import load, rewriting
from penjing.stages import _checks, _frame

pytest.importorskip("compressed_tensors")


@pytest.fixture(scope="module")
def llama(tmp_path_factory, runtime):
    """A small Llama that has read sentences, and them."""
    draw, folder = random.Random(0), tmp_path_factory.mktemp("story")
    lines = [f"The {draw.choice(['old', 'small'])} tree {draw.choice(['grows', 'waits'])} in garden {i}.\n" for i in range(300)]
    (folder / "story.txt").write_text("".join(lines), "utf-8")
    brief = {"epochs": 2, "learning_rate": 3e-3, "batch_rows": 16, "vocabulary": 300, "context": 24}
    model, _ = penjing.pretrain("new:llama-tiny", folder / "story.txt", out=folder / "llama", runtime=runtime, **brief)
    return model, folder / "story.txt"


WAYS = [
    ({"method": "rtn"}, "int4 weights, fp32"),
    ({"method": "gptq", "bits": 8}, "int8 weights, fp32"),
    ({"method": "bf16"}, "bf16"),
]


@pytest.mark.parametrize(("words", "name"), WAYS)
def test_weights_in_few_bits_are_measured_named_evaluated_and_predicted(words, name, tmp_path, text_parent, reviews, runtime):
    model, report = penjing.quantize(text_parent, reviews, out=tmp_path / "small", runtime=runtime, **words)
    assert model.engine == "torch" and report.facts["latency"]["engine"] == {"child": f"torch {name}", "parent": "torch fp32"}
    assert report.after["bytes"].value < 0.55 * report.before["bytes"].value and report.facts["parity"]["difference"] < 1e-3
    assert report.after["accuracy"].value > report.before["accuracy"].value - 0.05
    again = penjing.evaluate(model, reviews, runtime=runtime, rows="tune")
    assert again.after["accuracy"].value == report.after["accuracy"].value
    assert penjing.predict(model, ["the film was lovely"], runtime=runtime)[0]["value"] == "good"
    assert {path.suffix for path in model.path.iterdir()} <= {".json", ".safetensors", ".md", ".html", ".txt"}
    assert f"torch {name}" in (model.path / "README.md").read_text("utf-8")


@pytest.mark.parametrize("method", ["rtn", "bf16"])
def test_a_parent_without_room_is_rewritten_from_disk_and_the_card_says_that_it_was_not_measured(
    method, llama, tmp_path, runtime, monkeypatch
):
    model, rows = llama
    whole, _ = penjing.quantize(model, rows, out=tmp_path / "whole", runtime=runtime, method=method)
    monkeypatch.setattr(rewriting, "ROOM", 1e9)
    monkeypatch.setattr(load, "load", None)
    small, report = penjing.quantize(model, rows, out=tmp_path / "small", runtime=runtime, method=method)
    assert small.sha256() == whole.sha256() and report.before == {} and report.parent["sha256"] == model.sha256()
    assert "its parent has no room in the memory of this machine" in (small.path / "README.md").read_text("utf-8")
    assert penjing.predict(small, ["The old"], max_new_tokens=4, runtime=runtime)[0]["value"]


def test_a_packed_model_can_be_trained_further_and_is_then_a_plain_one(tmp_path, text_parent, reviews, runtime):
    small, _ = penjing.quantize(text_parent, reviews, out=tmp_path / "small", runtime=runtime, method="rtn")
    half, _ = penjing.quantize(small, reviews, out=tmp_path / "half", runtime=runtime, method="bf16")
    assert "quantization_config" not in half.config and half.config["dtype"] == "bfloat16"
    further, report = penjing.finetune(small, reviews, out=tmp_path / "further", runtime=runtime, epochs=0.2)
    assert report.facts["latency"]["engine"]["child"] == "torch fp32" and "quantization_config" not in further.config


def test_awq_scales_a_llama_and_refuses_a_bert(llama, text_parent, reviews, tmp_path, runtime):
    model, rows = llama
    _, report = penjing.quantize(model, rows, out=tmp_path / "small", runtime=runtime, method="awq")
    assert report.facts["quantized"]["scaled_layers"] == 10
    with pytest.raises(ModelError, match="has no norm that only linear layers read"):
        penjing.quantize(text_parent, reviews, out=tmp_path / "other", runtime=runtime, method="awq")


def test_the_engine_of_a_method_is_torch_and_no_other():
    assert _frame.stage_options("quantize", {"method": "rtn"}).engine is None
    with pytest.raises(OptionError, match=r"--method rtn writes nothing for openvino"):
        penjing.stages.quantize.possible_engines(_frame.stage_options("quantize", {"method": "rtn", "engine": "openvino"}))
    with pytest.raises(OptionError, match=r"(?s)--bits cannot be 3.*4"):
        _frame.stage_options("quantize", {"method": "rtn", "bits": 3})


def test_a_task_that_writes_may_be_quantized_for_torch_alone():
    translation = find("tasks", "translation").TASK
    _checks._require_computed("quantize", _frame.stage_options("quantize", {"method": "rtn"}), translation)
    with pytest.raises(TaskError, match=r"(?s)do not write token by token.*--method rtn or bf16"):
        _checks._require_computed("quantize", _frame.stage_options("quantize", {}), translation)


def test_rows_of_one_label_are_no_good_to_calibrate_on_and_the_card_says_so(tmp_path, text_parent, reviews, runtime):
    _, report = penjing.quantize(text_parent, reviews, out=tmp_path / "small", runtime=runtime, method="gptq", calibration_rows=1)
    assert any("the 1 rows it was calibrated on have one label" in note for note in report.notes)


def test_a_packed_directory_without_the_library_is_named_with_its_extra(tmp_path, text_parent, reviews, runtime, monkeypatch):
    small, _ = penjing.quantize(text_parent, reviews, out=tmp_path / "small", runtime=runtime, method="rtn")
    monkeypatch.setitem(sys.modules, "compressed_tensors", None)
    with pytest.raises(MissingExtra, match=r"penjing\[quant\]"):
        load.load_model(small, load.task_for(ModelDir.open(small)), runtime)


def test_pixels_are_given_to_a_bf16_model_in_its_own_precision(tmp_path, image_parent, runtime):
    model, report = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "small", runtime=runtime, method="bf16")
    assert report.facts["latency"]["engine"]["child"] == "torch bf16" and report.after["bytes"].value < 0.7 * report.before["bytes"].value
    assert abs(report.after["accuracy"].value - report.before["accuracy"].value) < 0.03
    assert 'return_tensors="pt").to(model.dtype)' in (model.path / "README.md").read_text("utf-8")
