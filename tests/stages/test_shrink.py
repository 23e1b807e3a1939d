"""The main job on easy reviews: a smaller model with its proof, or the best one with the floor missed by so much."""

import dataclasses
import json

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModel, BertConfig, GPT2Config, LlamaConfig, ViTConfig

import penjing
from penjing.core.errors import ModelError
from penjing.core.model_dir import MADE, ModelDir
from penjing.core.report import Report
from penjing.engine import remarks
from penjing.engine.widths import dissected
from penjing.stages import _frame, _search, _shapes
from penjing.stages._clock import Clock

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
    assert {"parent", "layers 1", "layers 1, ffn 256", "LogisticRegression"} <= curve.keys()
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
    monkeypatch.setattr(_shapes, "SHARES", {"layers": (), "ffn": ()})
    out = tmp_path / "small"
    words = {**QUICK, "epochs": 0, "students": ["new:bert-tiny"]}
    model, report = penjing.shrink(text_parent, reviews, out=out, runtime=runtime, **words)
    proof = report.facts["proof"]
    assert not proof["passed"] and proof["missed_by"] == pytest.approx(proof["upper"] - proof["floor"])
    assert report.facts["chosen"] == "new:bert-tiny" and proof["missed_by"] > 10
    assert "issed" in (out / "README.md").read_text("utf-8")
    assert model.labels == ["bad", "good"]


def test_a_search_that_is_stopped_goes_on_with_what_it_has_made_and_ends_as_if_it_had_not_been(
    tmp_path, small, text_parent, reviews, runtime, monkeypatch
):
    words, out = {**QUICK, "candidates": 2}, tmp_path / "small"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(_search, "choose", stop)
        penjing.shrink(text_parent, reviews, out=out, runtime=runtime, **words)
    assert not out.exists() and [path.name for path in tmp_path.iterdir()] == [".small.partial"]
    _, times = json.loads((tmp_path / ".small.partial" / MADE / "timing.json").read_text("utf-8"))

    def forbidden(*_, **__):
        raise AssertionError("this was made before")

    for stage in _search.STAGES:
        monkeypatch.setitem(_search.STAGES, stage, forbidden)
    model, report = penjing.shrink(text_parent, reviews, out=out, runtime=runtime, **words)
    assert [path.name for path in tmp_path.iterdir()] == ["small"]
    assert {point["bytes"] for point in report.facts["curve"]} >= {each["bytes"] for each in times if each["bytes"] < times[0]["bytes"]}
    if report.facts["chosen"] == small[1].facts["chosen"]:  # which of two shapes is the cheaper is a matter of milliseconds
        assert model.sha256() == small[0].sha256()


def test_its_recipe_makes_the_chosen_model_again(small, tmp_path, reviews, runtime):
    model, _ = small
    made = penjing.run(str(model.path / "recipe.toml"), out=tmp_path, changes={"data": str(reviews)}, runtime=runtime)
    assert made[-1][1].sha256() == model.sha256() and made[-1][1].whole_sha256() == model.whole_sha256()


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
    assert [c.name for c in seen["candidates"]] == ["layers 1, ffn 256"]
    assert all(0 < c.bytes <= most and c.latency_ms > 0 and c.model is None for c in seen["candidates"])


@pytest.mark.parametrize(("most", "fits"), [("12%", [2.0, 1.0]), ("12.5 ms", [3.0, 2.0, 1.0]), ("1ms", [1.0])])
def test_a_latency_is_a_time_or_a_share_of_what_the_parent_takes(most, fits):
    from types import SimpleNamespace

    options = SimpleNamespace(max_bytes=None, max_latency=most, prefer="latency")
    shapes = [_search.Candidate(str(ms), bytes=1, latency_ms=ms) for ms in (1.0, 2.0, 3.0)]
    assert [c.latency_ms for c in _shapes.promising(shapes, 20.0, SimpleNamespace(options=options))] == fits


def test_rivals_that_cannot_be_compared_in_time_give_way_to_the_largest_that_is_as_wide_as_the_parent(tmp_path, runtime):
    from types import SimpleNamespace

    clock = Clock(100, tmp_path)
    clock.pace = 10.0
    search = SimpleNamespace(options=SimpleNamespace(training=SimpleNamespace(epochs=8)), clock=clock, runtime=runtime)
    narrow, short, wide = (
        _search.Candidate(str(words), (("distill", words),), work=work)
        for words, work in (({"hidden": 64}, 3.0), ({"layers": 1}, 1.0), ({"layers": 2}, 2.0))
    )
    assert _search.halve([narrow, short, wide], search) is wide and _search.halve([narrow], search) is narrow


ENCODER = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
SEARCHED = [  # a config; how many shapes; of which some
    (BertConfig(**ENCODER), 25, [{"layers": 5}, {"layers": 2, "ffn": 384}, {"hidden": 288}, {"ffn": 768, "hidden": 192}]),
    (ViTConfig(**ENCODER), 27, [{"layers": 5, "ffn": 1152}, {"heads": 9}, {"heads": 6}, {"layers": 3, "hidden": 192}]),
    (LlamaConfig(**ENCODER, num_key_value_heads=4), 26, [{"heads": 6}, {"hidden": 192}]),
    (GPT2Config(n_embd=384, n_head=12, n_layer=6), 8, [{"layers": 5}, {"hidden": 192}, {"layers": 3, "hidden": 288}]),  # says no width
    (BertConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16), 1, [{"ffn": 8}]),
]


@pytest.mark.parametrize(("config", "number", "some"), SEARCHED, ids=["bert", "vit", "llama", "gpt2", "one block"])
def test_every_dimension_is_searched_and_the_shapes_to_time_stay_few(config, number, some, monkeypatch):
    monkeypatch.setattr(_shapes, "SHARES", {"layers": (5 / 6, 2 / 3, 1 / 2, 1 / 3), "ffn": (0.75, 0.5, 0.25)})
    monkeypatch.setattr(_shapes, "WIDTHS", {"heads": (0.75, 0.5), "hidden": (0.75, 0.5)})
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    shapes = _shapes.students(model, dissected(model))
    assert len(shapes) == number == len({tuple(sorted(shape.items())) for shape in shapes})
    assert all(shape in shapes for shape in some)


def test_a_narrower_model_is_chosen_where_no_other_is_small_enough(tmp_path, text_parent, reviews, runtime, monkeypatch):
    monkeypatch.setattr(_shapes, "WIDTHS", {"hidden": (0.5,)})
    most = int(ModelDir.open(text_parent).bytes() * 0.5)
    words = {**QUICK, "epochs": 2, "candidates": 1, "max_bytes": most, "reasons": False}
    model, report = penjing.shrink(text_parent, reviews, out=tmp_path / "small", runtime=runtime, **words)
    curve = {point["name"]: point for point in report.facts["curve"]}
    assert report.facts["chosen"] in ("hidden 64", "layers 1, hidden 64", "ffn 256, hidden 64") and report.facts["proof"]["passed"]
    assert model.config["hidden_size"] == 64 and model.bytes() <= most < curve["layers 1, ffn 256"]["bytes"]
    assert "hidden = 64" in (model.path / "recipe.toml").read_text("utf-8")


@pytest.mark.parametrize("provable", range(-1, 7))
def test_the_search_halves_its_way_to_the_smallest_shape_that_is_likely_to_pass(provable, monkeypatch, runtime):
    """Seven shapes, of which those up to number `provable` would pass: the largest and three more find the boundary."""
    from types import SimpleNamespace

    from penjing.maths.proof import judge

    tried = []

    def trained(candidate, floor, search):
        tried.append(candidate.name)
        candidate.verdict = judge(0 if int(candidate.name) <= provable else 100, 0, 500, floor)
        return True

    monkeypatch.setattr(_search, "_train", trained)
    options = SimpleNamespace(budget=None, candidates=4, prefer="both", training=SimpleNamespace(epochs=1))
    search = SimpleNamespace(num_proof=500, options=options, runtime=runtime)
    shapes = [_search.Candidate(str(number), (("distill", {"layers": 1}),), bytes=2 ** (9 - number), latency_ms=1.0) for number in range(7)]
    _search.train(shapes, 0.03, search)
    passed = [int(name) for name in tried if int(name) <= provable]
    assert tried[0] == "0" and len(tried) <= 4 and max(passed, default=-1) == provable
    if provable < 0:
        assert tried == ["0", "1", "2", "3"]


def test_shapes_of_about_the_same_cost_are_rivals():
    costs = [100, 90, 84, 70, 60, 30]
    shapes = [_search.Candidate(str(cost), bytes=cost, latency_ms=1.0) for cost in costs]
    assert [[c.bytes for c in level] for level in _search.rivals(shapes, "size")] == [[100, 90, 84], [70, 60], [30]]


def test_rivals_are_trained_a_little_and_the_better_half_for_longer(tmp_path, monkeypatch, runtime):
    from types import SimpleNamespace

    learnt, qualities = [], {"a": 0.7, "b": 0.9, "c": 0.8, "d": 0.6}

    def made(search, stage, base, words, folder, quiet):
        learnt.append((folder.parent.name, words["epochs"]))
        return None, SimpleNamespace(after={"accuracy": SimpleNamespace(value=qualities[folder.parent.name])})

    monkeypatch.setattr(_search, "make", made)
    options = SimpleNamespace(training=SimpleNamespace(epochs=8))
    task, clock = SimpleNamespace(primary="accuracy"), Clock(None, tmp_path)
    search = SimpleNamespace(options=options, task=task, clock=clock, work=tmp_path, whole=None, runtime=runtime)
    level = [_search.Candidate(name, (("distill", {}),)) for name in "abcd"]
    assert _search.halve(level, search).name == "b"
    assert learnt == [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("b", 2), ("c", 2)]


def test_the_pace_of_a_training_is_that_of_its_second_half(tmp_path):
    clock = Clock(None, tmp_path)
    clock.measured([(1, 5.0, 0.1), (2, 9.0, 0.1), (3, 10.0, 0.1), (4, 11.0, 0.1)], epochs=2, work=10)
    assert clock.pace == 4 * 1.0 / 20
    clock.measured([(1, 5.0, 0.1)], epochs=1, work=1)
    assert clock.pace == 5.0


def test_a_search_keeps_to_its_budget(tmp_path, monkeypatch, runtime):
    """Each epoch takes 10 seconds of 100: two shapes are trained whole, one for fewer epochs, none after."""
    from types import SimpleNamespace

    from penjing.maths.proof import judge

    now, learnt = [0.0], []
    monkeypatch.setattr("penjing.stages._clock.time.perf_counter", lambda: now[0])

    def made(search, stage, base, words, folder, quiet):
        now[0] += 10 * words["epochs"] + 1
        learnt.append((folder.parent.name, round(words["epochs"], 1)))
        facts = {"training": {"losses": [(1, 10 * words["epochs"], 0.1)]}}
        child = SimpleNamespace(bytes=lambda: 1)
        return child, SimpleNamespace(after={"latency_ms": SimpleNamespace(value=1.0)}, facts=facts)

    monkeypatch.setattr(_search, "make", made)
    monkeypatch.setattr(_search, "verdict", lambda *_: judge(100, 0, 500, 0.03))
    monkeypatch.setattr(_search.appraise, "predict", lambda *_: [])
    training, rows = SimpleNamespace(epochs=4), [0] * 2560
    options = SimpleNamespace(budget=100, candidates=9, prefer="size", training=training, quantize=False)
    fields = {
        "options": options,
        "runtime": runtime,
        "work": tmp_path,
        "clock": Clock(100, tmp_path),
        "whole": SimpleNamespace(bytes=lambda: 2),
        "first": (),
    }
    search = SimpleNamespace(**fields, num_proof=500, task=None, tuned=[], data=SimpleNamespace(role=lambda name: rows))
    shapes = [_search.Candidate(str(n), (("distill", {"epochs": 4}),), bytes=2 ** (20 - n), latency_ms=1.0, work=1.0) for n in range(15)]
    whole = _search.Candidate("whole", bytes=2**30, latency_ms=1.0, work=9.0)
    _search.train([whole, *shapes], 0.03, search)
    assert learnt[0][1] == 0.4 and [epochs for _, epochs in learnt[1:-1]] == [4, 4] and 0.5 <= learnt[-1][1] < 4
    assert 90 <= now[0] <= 110


def test_a_student_larger_than_the_parent_is_refused_before_anything_is_trained(text_parent, reviews, tmp_path, runtime):
    with pytest.raises(ModelError, match="new:bert-mini is larger than its teacher"):
        penjing.shrink(text_parent, reviews, students=["new:bert-mini"], floor="20", quantize=False, out=tmp_path / "out", runtime=runtime)
