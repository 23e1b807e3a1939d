"""Rounds, zeros that stay, and what the card says of a pruned model."""

import pytest
import torch
from safetensors.torch import load_file

import penjing
from penjing.core.errors import ModelError, OptionError
from penjing.core.model_dir import ModelDir
from penjing.engine import remarks
from penjing.stages import _frame

WORDS = {"learning_rate": 1e-3, "precision": "fp32"}


def test_the_hidden_width_shrinks_and_the_card_says_what_is_left(text_parent, reviews, runtime, tmp_path):
    model, report = penjing.prune(text_parent, reviews, method="hidden", epochs=2, out=tmp_path / "thin", runtime=runtime, **WORDS)
    assert (model.config["hidden_size"], model.config["num_attention_heads"]) == (64, 1) and report.after["accuracy"].value > 0.9
    said = "of its parent it has 1 of 2 heads in each attention and 64 of 128 channels of its hidden width"
    assert said in report.notes and said in (model.path / "README.md").read_text("utf-8")
    assert model.bytes() < 0.6 * ModelDir.open(text_parent).bytes()


def test_a_method_that_does_not_fit_names_those_that_do(text_parent, reviews, runtime, tmp_path):
    with pytest.raises(ModelError, match="heads does not fit a model of type bert") as error:
        penjing.prune(text_parent, reviews, method="heads", out=tmp_path / "x", runtime=runtime)
    assert all(name in error.value.wanted for name in ("'hidden'", "'feed-forward'"))


@pytest.fixture(scope="module")
def cut(text_parent, reviews, runtime, tmp_path_factory):
    """The parent with a quarter of its weights."""
    out = tmp_path_factory.mktemp("cut") / "cut"
    return penjing.prune(text_parent, reviews, method="weights", keep_share=0.25, epochs=0, out=out, runtime=runtime)[0]


@pytest.mark.parametrize(("optimizer", "precision"), [("adamw", "bf16"), ("muon", "fp32")])
def test_zeros_stay_zeros_while_the_rest_learns(cut, text_parent, reviews, runtime, tmp_path, optimizer, precision):
    how = {"optimizer": optimizer, "precision": precision, "average": 0.5, "learning_rate": 1e-3, "epochs": 0.1}
    words = {"method": "weights", "keep_share": 0.25, "runtime": runtime, **how}
    learnt, report = penjing.prune(text_parent, reviews, out=tmp_path / "learnt", **words)
    before, after = (load_file(model.path / "model.safetensors") for model in (cut, learnt))
    moved = 0
    for name, value in before.items():
        if name.endswith("dense.weight") and "layer." in name:
            assert torch.equal(after[name] == 0, value == 0) and 0.74 < (value == 0).float().mean() < 0.76
            moved += int((after[name] != value).sum())
    assert moved and any("75.0 % of the" in note and "bytes and time are what they were" in note for note in report.notes)
    assert learnt.bytes() == pytest.approx(ModelDir.open(text_parent).bytes(), rel=0.01)


def test_rounds_end_where_one_step_does_each_with_its_part_of_the_epochs(text_parent, reviews, runtime, tmp_path):
    words = {"method": "feed-forward", "keep_share": 0.25, "runtime": runtime, **WORDS}
    model, report = penjing.prune(text_parent, reviews, rounds=3, epochs=0.6, out=tmp_path / "rounds", **words)
    rounds = report.facts["rounds"]
    assert model.config["intermediate_size"] == 128 and len(rounds) == 3 and rounds[-1]["removed"] == report.facts["removed"]
    assert [each["share"] for each in rounds] == pytest.approx([0.25 ** (1 / 3), 0.25 ** (2 / 3), 0.25], abs=0.02)
    assert [each["training"]["curve"][-1]["epoch"] for each in rounds] == pytest.approx([0.2] * 3, abs=0.05)
    assert any(note.endswith("the rest taken away in 3 rounds") for note in report.notes) and remarks.remarks(report)
    assert not list(model.path.glob("training-*"))


def test_shares_that_are_rounded_on_the_way_are_made_up_for():
    options = _frame.stage_options("prune", {"method": "heads", "keep_share": 0.5, "rounds": 4})
    total, left = 4, 4
    for number in range(1, 5):
        left = round(left * options.after(number, left / total).keep_share)
    assert left == 2


def test_words_that_can_do_nothing_are_refused_and_shared_ones_left_out():
    with pytest.raises(OptionError, match="--rounds does nothing here: --method vocabulary trains nothing"):
        _frame.stage_options("prune", {"method": "vocabulary", "rounds": 2})
    known = {flag.name for flag in _frame.stage_flags("prune", "vocabulary")}
    assert {"keep_share", "method", "columns"} <= known and not {"epochs", "recovery", "rounds", "scoring_rows"} & known
    assert {"epochs", "rounds"} <= {flag.name for flag in _frame.stage_flags("prune", "layers")}
