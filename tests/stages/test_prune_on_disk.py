"""prune of a model that has no room in memory: on disk, tensor by tensor, as far as nothing needs it whole."""

import re

import pytest
import torch
from safetensors.torch import load_file

import penjing
from penjing import cli
from penjing.core.model_dir import ModelDir
from penjing.engine import load, rewriting

BY_SIZE = {"importance": "magnitude", "epochs": 0}


@pytest.mark.parametrize(
    "words",
    [
        {"method": "feed-forward", **BY_SIZE},
        {"method": "hidden", "rounds": 2, **BY_SIZE},
        {"method": "weights", "pattern": "2:4", **BY_SIZE},
        {"method": "layers", "epochs": 0},
        {"method": "vocabulary"},
    ],
    ids=lambda words: words["method"],
)
def test_a_model_without_room_is_pruned_on_disk_and_the_card_says_that_it_was_not_measured(
    words, text_parent, reviews, runtime, tmp_path, monkeypatch
):
    whole, measured = penjing.prune(text_parent, reviews, out=tmp_path / "whole", runtime=runtime, **words)
    monkeypatch.setattr(rewriting, "ROOM", 1e9)
    monkeypatch.setattr(load, "load", None)
    small, report = penjing.prune(text_parent, reviews, out=tmp_path / "small", runtime=runtime, **words)
    assert small.whole_sha256() == whole.whole_sha256() and report.facts["removed"] == measured.facts["removed"]
    assert report.before == {} and report.after["accuracy"].value == measured.after["accuracy"].value
    assert report.facts["parity"]["difference"] < 1e-4 and report.parent["sha256"] == ModelDir.open(text_parent).sha256()
    assert "its parent has no room in the memory of this machine" in (small.path / "README.md").read_text("utf-8")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_what_is_pruned_on_disk_stays_in_the_precision_it_was_stored_in(dtype, text_parent, reviews, runtime, tmp_path, monkeypatch):
    whole = load.load(ModelDir.open(text_parent), load.task_for(ModelDir.open(text_parent)), runtime)
    whole.model.to(dtype).save_pretrained(tmp_path / "parent")
    whole.processor.save_pretrained(tmp_path / "parent")
    words = {"method": "feed-forward", "runtime": runtime, **BY_SIZE}
    wide, _ = penjing.prune(tmp_path / "parent", reviews, out=tmp_path / "wide", **words)
    monkeypatch.setattr(rewriting, "ROOM", 1e9)
    small, report = penjing.prune(tmp_path / "parent", reviews, out=tmp_path / "small", **words)
    in_memory, on_disk = (load_file(each.path / "model.safetensors") for each in (wide, small))
    assert {value.dtype for value in on_disk.values()} == {dtype} and small.bytes() < 0.7 * wide.bytes()
    assert all(torch.equal(on_disk[name].float(), value) for name, value in in_memory.items())
    assert report.facts["latency"]["engine"]["child"] == {torch.bfloat16: "torch bf16", torch.float16: "torch fp16"}[dtype]


@pytest.mark.parametrize(
    ("words", "need", "instead"),
    [
        (["--method", "layers"], "recovery trains it", "--epochs 0"),
        (["--epochs", "0"], "--importance taylor looks at what it makes of rows", "--importance magnitude"),
        (["--method", "weights"], "recovery trains it and --importance wanda looks at what", "--epochs 0 --importance magnitude"),
    ],
)
def test_what_needs_a_model_whole_that_has_no_room_is_refused_with_what_does_not(
    words, need, instead, text_parent, reviews, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(rewriting, "ROOM", 1e9)
    assert cli.main(["prune", str(text_parent), str(reviews), "--out", str(tmp_path / "small"), *words]) == 2
    problem, wanted, fix = capsys.readouterr().err.strip().splitlines()
    assert re.search(rf"has no room in the memory of this machine \(it takes .* GB, and .* are free\), and {need}", problem)
    assert wanted.endswith(f"what is done tensor by tensor: {instead}") and f"pass {instead}, or" in fix
    assert not (tmp_path / "small").exists()


def test_a_pruning_on_disk_that_is_killed_goes_on(text_parent, reviews, runtime, tmp_path, monkeypatch):
    words, put, done = {"method": "layers", "epochs": 0, "runtime": runtime}, rewriting.Rewriter.put, list[str]()
    whole, _ = penjing.prune(text_parent, reviews, out=tmp_path / "whole", **words)
    monkeypatch.setattr(rewriting, "ROOM", 1e9)
    monkeypatch.setattr(rewriting, "PIECE_BYTES", 1)

    def dies(self, path, tensors):
        put(self, path, tensors)
        done.append(path)
        if len(done) == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rewriting.Rewriter, "put", dies)
        penjing.prune(text_parent, reviews, out=tmp_path / "small", **words)
    monkeypatch.setattr(rewriting.Rewriter, "put", lambda self, path, tensors: (done.append(path), put(self, path, tensors)))
    small, _ = penjing.prune(text_parent, reviews, out=tmp_path / "small", **words)
    assert len(done) == len({*done}) > 5 and not list(tmp_path.glob(".*"))
    found = {name: value for path in small.weight_files() for name, value in load_file(path).items()}
    wanted = load_file(whole.path / "model.safetensors")
    assert found.keys() == wanted.keys() and all(torch.equal(found[name], value) for name, value in wanted.items())
