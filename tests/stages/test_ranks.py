"""Processes that train together: how they are started, and what is refused."""

import pytest
import torch
from safetensors.torch import load_file

import penjing
from penjing.core.errors import OptionError
from tests.conftest import write_reviews

WORDS = {"task": "text-classification", "epochs": 1, "learning_rate": 1e-3, "precision": "fp32", "dropout": 0.0, "batch_rows": 31}


def test_ranks_of_this_machine_are_started_and_the_first_writes_the_output(tmp_path, runtime):
    """What they learn together is held against one alone in test_resume.py."""
    rows, out = write_reviews(tmp_path / "few.csv", 100), tmp_path / "out"
    words = {**WORDS, "precision": "bf16", "sharded": True, "ranks": 2}
    _, report = penjing.finetune("new:bert-tiny", rows, out=out, runtime=runtime, **words)
    training = report.facts["training"]
    assert (report.stage, training["precision"], len(training["curve"])) == ("finetune", "bf16", 1)
    assert {weight.dtype for weight in load_file(out / "model.safetensors").values()} == {torch.float32}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "--sharded leaves each rank a part of the model, and there is one rank"),
        ({"ranks": 2, "optimizer": "muon"}, "--optimizer muon needs whole matrices, and with --sharded each rank has a part of them"),
    ],
)
def test_a_model_is_shared_out_among_several_and_by_an_optimizer_that_can(tmp_path, runtime, words, said):
    """Said before the rows, which are not there, are looked for."""
    with pytest.raises(OptionError, match=said):
        penjing.finetune("new:bert-tiny", tmp_path / "none.csv", out=tmp_path / "out", sharded=True, runtime=runtime, **{**WORDS, **words})


def test_each_rank_needs_a_gpu_of_its_own_where_they_compute_on_gpus(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    with pytest.raises(OptionError, match="--ranks 3 need as many GPUs, and torch finds 2"):
        runtime = penjing.Runtime(device="cuda", quiet=True)
        penjing.finetune("new:bert-tiny", tmp_path / "none.csv", out=tmp_path / "out", ranks=3, runtime=runtime, **WORDS)


@pytest.mark.parametrize(("words", "said"), [({"folds": 3}, "--folds"), ({"unlabelled": "reviews.csv"}, "--unlabelled")])
def test_ranks_are_for_one_training(tmp_path, reviews, runtime, words, said):
    with pytest.raises(OptionError, match=f"--ranks is for one training, and {said} trains more than once"):
        penjing.finetune("new:bert-tiny", reviews, out=tmp_path / "out", ranks=2, runtime=runtime, **{**WORDS, **words})
