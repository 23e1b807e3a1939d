"""Questions about a text through the whole life: learnt, made smaller, proven by a bootstrap, asked and shown."""

import json
import random
import re

import pytest

import penjing
from penjing import cli

CITIES, REST = ["Oslo", "Rome", "杭州", "Lima"], ["the", "old", "train", "goes", "很", "slowly", "on", "every", "day"]
TRAINED = {"epochs": 4, "learning_rate": 3e-3, "precision": "fp32", "task": "question-answering"}


def row(draw):
    """Where it goes to: a city behind "to", if there is one among the other words."""
    city = draw.choice([*CITIES, None])
    words = [*draw.choices(REST, k=4), *(["to", city] if city else []), *draw.choices(REST, k=3), str(draw.randrange(10**4))]
    context = " ".join(words)
    answers = {"text": [city], "answer_start": [context.index(city)]} if city else {"text": [], "answer_start": []}
    return {"question": draw.choice(["where to?", "to which city?"]), "context": context, "answers": answers}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("questions") / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row(draw), ensure_ascii=False) for _ in range(500)), "utf-8")
    return path


@pytest.fixture(scope="module")
def parent(few, data, tmp_path_factory, runtime):
    """A small BERT that has learnt the rows, and its report."""
    return penjing.finetune("new:bert-tiny", data, out=tmp_path_factory.mktemp("models") / "asked", runtime=runtime, **TRAINED)


def test_it_learns_answers_and_when_there_is_none(parent):
    model, report = parent
    assert report.facts["metric"] == "f1" and report.after["f1"].value > 0.9 and report.after["f1"].low is not None
    assert report.baseline["name"] == "LikestSentence" and report.baseline["measures"]["f1"].value < report.after["f1"].value
    assert not model.labels and 0 <= model.config["no_answer_threshold"] <= 1


def test_a_question_is_asked_as_json_and_answered_with_its_place_in_the_users_text(parent, data, capsys, monkeypatch):
    model, _ = parent
    context = "👩‍👩‍👧 the train goes to 杭州 every day"
    assert cli.main(["predict", str(model.path), json.dumps({"question": "where to?", "context": context}), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input"] == "where to?" and found["value"] == {"text": "杭州", "start": 24, "end": 26} and found["told"] == "杭州"
    assert context[24:26] == "杭州"
    assert cli.main(["predict", str(model.path), str(data), "--quiet"]) == 0
    told = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert len(told) == 500 and {*CITIES, "no answer"} <= {*told}
    assert cli.main(["predict", str(model.path), "where to?", "--quiet"]) == 2
    assert 'wanted  {"question": "...", "context": "..."}' in capsys.readouterr().err


def test_the_few_lines_of_the_card_answer_as_penjing_does(parent, capsys):
    model, _ = parent
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    code = code.replace('"What is asked?"', '"where to?"').replace('"A text that may tell."', '"the old train goes to Oslo every day 7"')
    exec(code, {})
    assert capsys.readouterr().out.strip() == "oslo"


def test_what_is_quantized_answers_alike_and_that_is_proven(parent, data, tmp_path, runtime):
    model, _ = parent
    small, report = penjing.quantize(model, data, engine="onnxruntime", out=tmp_path / "small", runtime=runtime)
    assert report.facts["parity"]["difference"] < 1e-3 and small.bytes() < model.bytes()
    assert small.config["no_answer_threshold"] == model.config["no_answer_threshold"]
    proof = penjing.compare(model, data, child=small.path, floor="20", rows="tune", runtime=runtime).facts["proof"]
    assert proof["passed"] and proof["floor"] == 20


def test_a_student_learns_the_teachers_starts_and_ends(parent, data, tmp_path, runtime):
    model, _ = parent
    trained = {"student": "new:bert-tiny", "epochs": 3, "learning_rate": 3e-3}
    student, report = penjing.distill(model, data, out=tmp_path / "x", runtime=runtime, **trained)
    assert report.after["f1"].value > 0.8 and "differ" in report.facts and student.task == "question-answering"
    assert all(entry["truth"] in (*CITIES, "no answer") for entry in report.facts["differ"])


def test_evaluate_counts_words_and_whole_answers(parent, data, runtime):
    report = penjing.evaluate(parent[0], data, rows="tune", runtime=runtime)
    assert report.after["exact_match"].value <= report.after["f1"].value and report.after["exact_match"].low is not None
