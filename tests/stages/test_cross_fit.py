"""Few rows: every one is answered once by a model that has not seen it, and what comes of it is called no proof."""

import shutil

import pytest

import penjing
from penjing.core.errors import DataError, OptionError
from penjing.engine import words
from tests.conftest import write_reviews

QUICK = {"epochs": 6, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A file of 120 easy reviews."""
    return write_reviews(tmp_path_factory.mktemp("few") / "few.csv", 120)


@pytest.fixture(scope="module")
def learnt(tmp_path_factory, rows, runtime):
    """A model of all rows, with what a cross-fit in two rounds says of it."""
    out = tmp_path_factory.mktemp("learnt") / "model"
    return penjing.finetune("new:bert-tiny", rows, task="text-classification", out=out, folds=2, runtime=runtime, **QUICK)


def test_a_model_learns_from_all_rows_and_its_quality_is_told_on_all_of_them(learnt):
    model, report = learnt
    found = report.facts["estimate"]
    assert found["n"] == sum(report.data["rows"].values()) == 120 and report.data["rows"]["proof"] == 0
    assert found["child"].n == 120 and found["child"].low < found["child"].value and found["baseline"].value > 0.5
    assert "Cross-fitted in 2 rounds" in words.verdict(words.plain(report)) and "120 rows" in (model.path / "README.md").read_text("utf-8")
    assert not [path for path in model.path.iterdir() if path.name.startswith(".")]


def test_shrinking_it_trains_its_parent_anew_without_the_rows_of_each_round(tmp_path, learnt, rows, runtime, few):
    _, report = penjing.shrink(learnt[0].path, rows, floor="2", folds=2, candidates=1, quantize=False, out=tmp_path / "small",
                               runtime=runtime, epochs=1, learning_rate=1e-3)  # fmt: skip
    found = report.facts["estimate"]
    assert found["low"] <= found["loss"] <= found["high"] and found["high"] - found["low"] > 1
    assert found["loss"] == pytest.approx(100 * (found["parent"].value - found["child"].value))
    assert "proof" not in report.facts and words.verdict(words.plain(report)).startswith("No proof")


def test_a_parent_that_cannot_be_trained_anew_is_refused_before_anything_is_trained(tmp_path, learnt, rows, runtime):
    moved = shutil.copytree(learnt[0].path, tmp_path / "moved")
    text = (moved / "penjing.json").read_text("utf-8")
    (moved / "penjing.json").write_text(text.replace('"new:bert-tiny"', '"/nowhere/bert"'), "utf-8")
    with pytest.raises(DataError, match="cannot be trained again without a part of them"):
        penjing.shrink(moved, rows, folds=2, out=tmp_path / "small", runtime=runtime)


def test_too_few_rows_for_a_proof_name_the_way_out(tmp_path, text_parent, reviews, runtime):
    with pytest.raises(DataError) as refused:
        penjing.shrink(text_parent, reviews, floor="0.5", out=tmp_path / "small", runtime=runtime)
    assert "--folds 5" in refused.value.fix


def test_rows_that_shall_prove_and_rounds_in_which_all_do_are_too_much(tmp_path, rows, runtime):
    words = {"task": "text-classification", "folds": 2, "proof_where": "label=good"}
    with pytest.raises(OptionError, match="--folds lets every row prove once"):
        penjing.finetune("new:bert-tiny", rows, out=tmp_path / "model", runtime=runtime, **words)


def test_rows_without_labels_prove_that_a_child_agrees_with_its_parent(tmp_path, text_parent, reviews, runtime, few):
    lines = reviews.read_text("utf-8").splitlines()
    (tmp_path / "rows.csv").write_text("\n".join(line.rsplit(",", 1)[0] for line in lines), "utf-8")
    model, report = penjing.shrink(text_parent, tmp_path / "rows.csv", floor_agreement="5", out=tmp_path / "small", runtime=runtime,
                                   candidates=1, epochs=1, learning_rate=1e-3)  # fmt: skip
    proof = report.facts["proof"]
    assert report.before["agreement"].value == 1.0 and report.after["agreement"].value == pytest.approx(1 - proof["loss"] / 100)
    assert proof["passed"] and "exact binomial" in proof["method"] and "accuracy" not in report.after
    assert "away from its parent's answers" in (model.path / "README.md").read_text("utf-8")
