"""Pairs of texts through the whole life: learnt, made smaller, found among others, asked for their likeness."""

import json
import random
import re

import pytest
from transformers import AutoModel, AutoTokenizer

import penjing
from penjing import cli
from penjing.core.errors import OptionError

WORDS = {"dog": "狗", "cat": "猫", "red": "红", "blue": "蓝", "runs": "跑", "sleeps": "睡", "here": "这里", "there": "那里", "old": "老"}
TRAINED = {"epochs": 4, "learning_rate": 2e-3, "precision": "fp32"}


def pair(draw):
    """A sentence and its translation, word by word."""
    words = draw.sample(sorted(WORDS), 4)
    return {"sentence1": " ".join(words), "sentence2": "".join(WORDS[word] for word in words)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draw = random.Random(0)
    rows = {row["sentence1"]: row for row in (pair(draw) for _ in range(600))}
    path = tmp_path_factory.mktemp("pairs") / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows.values()), "utf-8")
    return path


@pytest.fixture(scope="module")
def parent(few, data, tmp_path_factory, runtime):
    """A small BERT that has learnt the pairs, and its report."""
    out = tmp_path_factory.mktemp("models") / "vectors"
    return penjing.finetune("new:bert-tiny", data, out=out, task="feature-extraction", runtime=runtime, **TRAINED)


def test_it_finds_translations_and_the_baseline_does_not(parent):
    _, report = parent
    assert report.facts["metric"] == "recall_at_1" and report.after["recall_at_10"].value > 0.8
    assert report.baseline["name"] == "LikestText" and report.baseline["measures"]["recall_at_10"].value < 0.5


def test_the_nearest_texts_of_a_file_are_the_answers_to_a_text(parent, tmp_path, capsys):
    model, _ = parent
    (tmp_path / "texts.csv").write_text("text\n老狗跑这里\n红猫睡那里\n蓝狗跑那里\n", "utf-8")
    asked = ["predict", str(model.path), "old dog runs here", "--among", str(tmp_path / "texts.csv"), "--nearest", "2"]
    assert cli.main([*asked, "--json", "--quiet"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["input"] for line in found] == ["old dog runs here"] * 2 and found[0]["score"] >= found[1]["score"]
    assert (found[0]["value"], found[0]["row"]) == ("老狗跑这里", "texts.csv, row 2")
    assert cli.main([*asked, "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("老狗跑这里\t0.")


def test_the_few_lines_of_the_card_give_the_vector_that_penjing_gives(parent, capsys, runtime):
    model, _ = parent
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    exec(code.replace("Any text.", "old dog"), {})
    (said,) = penjing.predict(model.path, "old dog", runtime=runtime)
    assert json.loads(capsys.readouterr().out)[0] == pytest.approx(said["value"], abs=1e-5)


def test_an_encoder_that_has_learnt_nothing_can_be_searched_with_and_a_classifier_cannot(parent, text_parent, tmp_path, runtime):
    model, _ = parent
    bare = tmp_path / "bare"
    AutoModel.from_pretrained(model.path).save_pretrained(bare)
    AutoTokenizer.from_pretrained(model.path).save_pretrained(bare)
    (tmp_path / "texts.txt").write_text("old dog runs here\nred cat\n", "utf-8")
    found = penjing.predict(bare, "old dog runs here", among=str(tmp_path / "texts.txt"), runtime=runtime)
    assert [line["value"] for line in found] == ["old dog runs here", "red cat"] and found[0]["score"] == pytest.approx(1, abs=1e-4)
    with pytest.raises(OptionError, match="--among is for answers that are vectors"):
        penjing.predict(text_parent, "a", among=str(tmp_path / "texts.txt"), runtime=runtime)
    with pytest.raises(OptionError, match=r"--among cannot be 'no\.csv': there is no such file"):
        penjing.predict(model, "a", among="no.csv", runtime=runtime)


def test_what_is_quantized_finds_the_same_and_a_student_learns_the_likenesses(parent, data, tmp_path, runtime):
    model, _ = parent
    small, report = penjing.quantize(model, data, engine="onnxruntime", out=tmp_path / "small", runtime=runtime)
    assert report.facts["parity"]["difference"] < 1e-3 and small.bytes() < model.bytes() and "differ" in report.facts
    _, report = penjing.distill(model, data, student="new:bert-tiny", out=tmp_path / "student", runtime=runtime, **TRAINED)
    assert report.after["recall_at_10"].value > 0.6


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"parts": 2}, "--parts would part the rows of a batch"),
        ({"ranks": 2}, "--ranks would part the rows of a batch"),
        ({"agreement": 1.0}, "--agreement compares two answers to a row, and this task compares rows with each other"),
        ({"label_smoothing": 0.1}, "--label-smoothing spreads a target over all answers, and this task compares rows with each other"),
        ({"class_weights": "balanced"}, "--class-weights weigh labels, and this task has none"),
    ],
)
def test_what_would_part_a_batch_whose_rows_are_compared_is_refused(given, problem, data, tmp_path, runtime):
    with pytest.raises(OptionError, match=problem):
        penjing.finetune("new:bert-tiny", data, out=tmp_path / "x", task="feature-extraction", runtime=runtime, **given)


def test_a_search_does_not_let_the_parent_stand_for_the_truth_that_is_in_the_rows(parent, data, tmp_path, runtime):
    with pytest.raises(OptionError, match="--floor-agreement lets answers of the parent stand for the truth"):
        penjing.shrink(parent[0], data, out=tmp_path / "x", floor_agreement="5", runtime=runtime)


def test_the_likeness_of_two_texts_is_learnt_from_scores_and_asked_as_json(few, tmp_path, runtime, capsys):
    draw = random.Random(1)
    rows = []
    for _ in range(300):
        one, other = (draw.sample(sorted(WORDS), 4) for _ in range(2))
        rows.append({"sentence1": " ".join(one), "sentence2": " ".join(other), "score": len({*one} & {*other})})
    path = tmp_path / "scored.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    model, report = penjing.finetune("new:bert-tiny", path, out=tmp_path / "m", task="sentence-similarity", runtime=runtime, **TRAINED)
    assert report.after["spearman"].value > 0.5 and report.after["spearman"].low is not None and "flips" not in report.facts
    text = json.dumps({"sentence1": "old dog", "sentence2": "old dog"})
    assert cli.main(["predict", str(model.path), text, "--quiet"]) == 0
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    told = capsys.readouterr().out
    exec(code.replace("One text.", "old dog").replace("Another text.", "old dog"), {})
    assert float(capsys.readouterr().out) == pytest.approx(float(told.split("\t")[0]), abs=1e-5)
    value, asked = told.strip().split("\t")
    assert float(value) == pytest.approx(1, abs=1e-4) and asked == "old dog"
