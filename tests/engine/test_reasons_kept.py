"""Agreement of reasons: whole with oneself, little with a model that has learnt nothing, and divergences as scipy has them."""

import csv

import numpy
import pytest
from scipy.stats import entropy

import penjing
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.engine import load, words


@pytest.fixture(scope="module")
def child(text_parent, reviews, runtime, tmp_path_factory):
    """A student that answers as well, and was given too little to learn the same."""
    out = tmp_path_factory.mktemp("models") / "child"
    penjing.distill(text_parent, reviews, student="new:bert-tiny", out=out, runtime=runtime, epochs=2, learning_rate=1e-3, precision="fp32")
    return out


@pytest.fixture(scope="module")
def grouped(reviews, tmp_path_factory):
    """The same rows, in groups of two writers."""
    path = tmp_path_factory.mktemp("data") / "grouped.csv"
    with reviews.open() as file:
        rows = [*csv.DictReader(file)]
    path.write_text("text,label,writer\n" + "".join(f"{r['text']},{r['label']},{'ab'[i % 2]}\n" for i, r in enumerate(rows[:300])))
    return path


def test_a_model_has_its_own_reasons_and_its_own_distributions(text_parent, reviews, runtime):
    report = penjing.compare(text_parent, reviews, child=text_parent, reasons=True, noise_floor=text_parent, runtime=runtime)
    found = report.facts["reasons"]
    assert found["correlation"].value == found["overlap"].value == found["floor"]["correlation"].value == 1
    assert report.facts["divergence"].value == pytest.approx(0, abs=1e-6) and found["n"] == 50
    assert any("rank their reasons alike by 1" in note for note in report.notes)


def test_a_child_agrees_in_part_and_the_divergence_is_that_of_scipy(text_parent, child, reviews, runtime, tmp_path):
    report = penjing.compare(text_parent, reviews, child=child, reasons=True, runtime=runtime)
    found, apart = report.facts["reasons"], report.facts["divergence"]
    page = tmp_path / "compared.html"
    penjing.compare(text_parent, reviews, child=child, reasons=True, runtime=runtime, out=page)
    assert "Rows with the least alike reasons" in page.read_text("utf-8")
    assert 0 < found["correlation"].low < found["correlation"].value < 1 and found["method"] == "integrated-gradients"
    assert len(found["least"]) == 5 and len(found["least"][0]["parent"]) == 5
    chances = []
    for path in (text_parent, child):
        base = ModelDir.open(path)
        loaded = load.load(base, load.task_for(base), runtime)
        with reviews.open() as file:
            texts = [row["text"] for row in csv.DictReader(file)]
        chances.append([loaded.model(**loaded.processor(text, return_tensors="pt")).logits[0].softmax(-1).tolist() for text in texts[:200]])
    every = [entropy(was, now) for was, now in zip(*chances)]
    assert apart.value == pytest.approx(numpy.mean(every), rel=0.5) and apart.low <= apart.value <= apart.high  # of other rows


def test_an_engines_artefact_is_asked_by_taking_words_away(text_parent, reviews, runtime, tmp_path):
    pytest.importorskip("onnxruntime")
    small, _ = penjing.quantize(text_parent, reviews, engine="onnxruntime", out=tmp_path / "int8", runtime=runtime)
    report = penjing.compare(text_parent, reviews, child=small.path, reasons=True, runtime=runtime)
    assert report.facts["reasons"]["method"] == "occlusion" and report.facts["reasons"]["correlation"].low > 0
    (found,) = penjing.explain(small.path, "the splendid room", method="occlusion", runtime=runtime)
    (whole,) = penjing.explain(text_parent, "the splendid room", method="occlusion", runtime=runtime)
    assert [unit["text"] for unit in found["units"]] == [unit["text"] for unit in whole["units"]]


def test_a_group_that_is_worse_beyond_noise_is_said_in_a_sentence():
    group = {"group": "b", "n": 60, "worse": 20, "better": 1, "chance": 1e-5}
    report = Report(
        "compare", {}, facts={"groups": {"column": "w", "num_groups": 2, "largest": [group, {**group, "group": "a", "chance": 0.2}]}}
    )
    assert words.group_sentences(report) == ["b: worse than the parent beyond noise, of 60 rows 20 turned wrong, 1 right"]


def test_groups_count_the_rows_that_turned(text_parent, child, grouped, runtime):
    report = penjing.compare(text_parent, grouped, child=child, groups="writer", rows="all", runtime=runtime)
    for group in report.facts["groups"]["largest"]:
        assert {"worse", "better", "chance"} <= {*group} and group["worse"] + group["better"] <= group["n"]
