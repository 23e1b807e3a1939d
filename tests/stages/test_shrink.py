"""The main job on easy reviews: a smaller model with its proof, or the best one with the floor missed by so much."""

import dataclasses
import json

import pytest
from huggingface_hub import ModelCard

import penjing
from penjing.core.errors import DataError, ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.engine import remarks
from penjing.stages import _frame, _search

QUICK = {"floor": "5", "quantize": False, "epochs": 1, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def small(few, tmp_path_factory, text_parent, reviews, runtime):
    """A proven child."""
    return penjing.shrink(text_parent, reviews, out=tmp_path_factory.mktemp("shrunk") / "small", runtime=runtime, candidates=2, **QUICK)


def test_a_smaller_child_is_proven(small, text_parent):
    model, report = small
    assert report.facts["proof"]["passed"] and report.facts["proof"]["upper"] <= 5
    assert model.bytes() < 0.8 * ModelDir.open(text_parent).bytes()
    assert report.after["bytes"].value == model.bytes() and report.after["parameters"].value < report.before["bytes"].value / 4
    assert report.model["sha256"] == model.sha256() == ModelDir.open(model.path).sha256()


def test_the_proof_is_on_rows_of_their_own_and_tells_how_many_were_needed(small):
    proof = small[1].facts["proof"]
    assert small[1].facts["measured_on"] == "proof" and proof["n"] == small[1].data["rows"]["proof"] == 210
    assert proof["rows_at_least"] <= proof["rows_needed"] <= 210
    assert [step["passed"] for step in proof["sequence"]][-1] or len(proof["sequence"]) > 1


def test_the_report_on_disk_holds_the_whole_search(small):
    model, report = small
    found = json.loads((model.path / "report.json").read_text("utf-8"))
    curve = {point["name"]: point for point in found["facts"]["curve"]}
    assert {"parent", "1 layers, 100% feed-forward", "1 layers, 50% feed-forward", "LogisticRegression"} <= curve.keys()
    assert {point["status"] for point in curve.values()} >= {"parent", "baseline", "proven"}
    assert all(point["bytes"] > 0 and point["latency_ms"] > 0 for point in curve.values())
    assert curve[found["facts"]["chosen"]]["status"] == "proven"
    assert found["facts"]["flips"]["n"] == 210 and len(found["facts"]["differ"]) <= 24
    assert found["baseline"]["name"] == "LogisticRegression" and found["cost"]["seconds"] > 0
    assert Report.read(model.path).facts["proof"] == report.facts["proof"]
    assert not list(model.path.glob(".*")) and [path.name for path in model.path.parent.iterdir()] == ["small"]


def test_tokens_that_no_row_uses_are_left_out_where_the_tune_rows_allow_it(text_parent, reviews, runtime, tmp_path):
    """Of these few rows the tune rows have words of their own: it costs 3 points of 100."""
    prepared = _frame.prepare("shrink", text_parent, reviews, {"floor": "10"}, runtime)
    search = _search.begin(prepared.base, prepared.task, prepared.data, prepared.options, tmp_path, runtime)
    trimmed, facts = _search.trim(search, 0.1)
    assert trimmed.base is search.base and trimmed.whole.config["vocab_size"] < search.base.config["vocab_size"]
    assert "in the training rows" in facts["vocabulary"]["tokens"]
    assert "come in smaller pieces" in remarks.remarks(Report("shrink", {}, facts=facts))[0]
    assert _search.trim(search, 0.01) == (search, {})


def test_its_card_is_one_that_the_hub_reads(small):
    card = ModelCard.load(small[0].path / "README.md")
    assert card.data.pipeline_tag == "text-classification" and {"penjing", "shrink"} <= set(card.data.tags)
    accuracy = next(result for result in card.data.eval_results if result.metric_type == "accuracy")
    assert accuracy.metric_value == small[1].after["accuracy"].value
    assert "Proven" in card.text and "reviews.csv" in card.text


def test_a_child_that_does_not_pass_is_returned_with_what_it_missed_by(tmp_path, text_parent, reviews, runtime, monkeypatch):
    """A student that learns nothing is all there is to choose from."""
    monkeypatch.setattr(_search, "LAYER_SHARES", (1.0,))
    monkeypatch.setattr(_search, "WIDTH_SHARES", (1.0,))
    out = tmp_path / "small"
    words = {**QUICK, "epochs": 0, "students": ["new:bert-tiny"]}
    model, report = penjing.shrink(text_parent, reviews, out=out, runtime=runtime, **words)
    proof = report.facts["proof"]
    assert not proof["passed"] and proof["missed_by"] == pytest.approx(proof["upper"] - proof["floor"])
    assert report.facts["chosen"] == "new:bert-tiny" and proof["missed_by"] > 10
    assert "issed" in (out / "README.md").read_text("utf-8")
    assert model.labels == ["bad", "good"]


def test_a_search_that_fails_leaves_nothing(tmp_path, text_parent, reviews, runtime, monkeypatch):
    def broken(*_):
        raise DataError("x")

    monkeypatch.setattr(_search, "choose", broken)
    with pytest.raises(DataError):
        penjing.shrink(text_parent, reviews, out=tmp_path / "small", runtime=runtime, candidates=1, **{**QUICK, "epochs": 0})
    assert list(tmp_path.iterdir()) == []


def test_shapes_are_timed_before_any_is_trained_and_limits_leave_only_what_fits(tmp_path, text_parent, reviews, runtime, monkeypatch):
    seen = {}

    def stop(candidates, floor, search):
        seen["candidates"] = candidates
        raise KeyboardInterrupt

    monkeypatch.setattr(_search, "train", stop)
    most = ModelDir.open(text_parent).bytes() * 0.69
    words = {**QUICK, "max_bytes": int(most)}
    with pytest.raises(KeyboardInterrupt):
        penjing.shrink(text_parent, reviews, out=tmp_path / "small", runtime=dataclasses.replace(runtime), **words)
    assert [c.name for c in seen["candidates"]] == ["1 layers, 50% feed-forward"]
    assert all(0 < c.bytes <= most and c.latency_ms > 0 and c.model is None for c in seen["candidates"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("provable", range(-1, 7))
def test_the_search_halves_its_way_to_the_smallest_shape_that_is_likely_to_pass(provable, monkeypatch, runtime):
    """Seven shapes, of which those up to number `provable` would pass: three trainings find the boundary."""
    from types import SimpleNamespace

    from penjing.maths.proof import judge

    tried = []

    def trained(candidate, floor, search):
        tried.append(candidate.name)
        candidate.verdict = judge(0 if int(candidate.name) <= provable else 100, 0, 500, floor)

    monkeypatch.setattr(_search, "_train", trained)
    options = SimpleNamespace(budget=None, candidates=3)
    search = SimpleNamespace(data=SimpleNamespace(role=lambda name: SimpleNamespace(units=500)), options=options, runtime=runtime)
    _search.train([_search.Candidate(str(number), (("layers", 0.5),)) for number in range(7)], 0.03, search)
    passed = [int(name) for name in tried if int(name) <= provable]
    assert len(tried) <= 3 and max(passed, default=-1) == provable


def test_a_student_larger_than_the_parent_is_refused_before_anything_is_trained(text_parent, reviews, tmp_path, runtime):
    with pytest.raises(ModelError, match="new:bert-mini is larger than its teacher"):
        penjing.shrink(text_parent, reviews, students=["new:bert-mini"], floor="20", quantize=False, out=tmp_path / "out", runtime=runtime)
