"""Entities through the whole life: learnt from texts and spans, made smaller, proven by a bootstrap, asked and shown."""

import json
import random
import re

import pytest

import penjing
from penjing import cli
from penjing.core.errors import OptionError

PEOPLE, PLACES, REST = ["Ann", "Bob", "老王"], ["Rome", "Oslo", "杭州"], ["met", "saw", "in", "at", "the", "很", "。"]
TRAINED = {"epochs": 4, "learning_rate": 3e-3, "precision": "fp32", "task": "token-classification"}


def line(draw):
    """A text without its spans, and they: a person, maybe with a surname, and a place among other words."""
    said = [(draw.choice(PEOPLE) + draw.choice(["", " Lee"]), "person"), (draw.choice(PLACES), "place")]
    said += [(word, None) for word in draw.choices([*REST, str(draw.randrange(10**4))], k=4)]
    draw.shuffle(said)
    text, spans = "", []
    for words, label in said:
        text += " "
        spans += [{"start": len(text), "end": len(text) + len(words), "label": label}] if label else []
        text += words
    return {"text": text, "spans": spans}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("tags") / "texts.jsonl"
    path.write_text("\n".join(json.dumps(line(draw)) for _ in range(500)), "utf-8")
    return path


@pytest.fixture(scope="module")
def parent(few, data, tmp_path_factory, runtime):
    """A small BERT that has learnt the rows, and its report."""
    return penjing.finetune("new:bert-tiny", data, out=tmp_path_factory.mktemp("models") / "tags", runtime=runtime, **TRAINED)


def test_it_learns_and_the_card_counts_entities_words_and_confusions(parent):
    model, report = parent
    assert model.labels == ["B-person", "B-place", "I-person", "I-place", "O"] and report.facts["metric"] == "entity_f1"
    assert report.after["entity_f1"].value > 0.9 and report.after["entity_f1"].low is not None
    assert report.baseline["name"] == "LinearTagger" and sum(map(sum, report.facts["confusion"]["child"])) > report.after["entity_f1"].n
    assert "entity F1" in (model.path / "README.md").read_text("utf-8").replace("Entity", "entity")


def test_the_few_lines_of_the_card_answer_as_penjing_does(parent, capsys, runtime):
    model, _ = parent
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    exec(code.replace('" words", " ."', '" met", " Oslo"').replace('"Any"', '"Bob"'), {})
    (found,) = penjing.predict(model.path, ["Bob met Oslo"], runtime=runtime)
    assert capsys.readouterr().out.strip() == str(found["value"]) == "['B-person', 'O', 'B-place']"


def test_answers_tell_entities_and_their_places_in_the_text(parent, data, capsys):
    model, _ = parent
    assert cli.main(["predict", str(model.path), "👍🏽 老王 Lee saw Rome", "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(e["label"], e["start"], e["end"], e["text"]) for e in found["entities"]] == [
        ("person", 3, 9, "老王 Lee"),
        ("place", 14, 18, "Rome"),
    ]
    assert cli.main(["predict", str(model.path), str(data), "--quiet"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 500 and all(re.search(r": (person|place)", line) for line in told[:5])


def test_a_search_is_measured_and_proven_as_for_other_tasks(parent, data, tmp_path, runtime):
    model, _ = parent
    small, report = penjing.shrink(
        model, data, floor="20", out=tmp_path / "small", runtime=runtime, epochs=1, learning_rate=1e-3, precision="fp32", candidates=1
    )
    assert report.facts["proof"]["method"].startswith("paired bootstrap") and report.facts["metric"] == "entity_f1"
    assert small.engine == "onnxruntime" and report.facts["parity"]["difference"] < 1e-3 and small.bytes() < model.bytes()


def test_augmentations_of_text_are_refused_for_words(data, tmp_path, runtime):
    with pytest.raises(OptionError, match="--augment typos changes text, and this task reads lists of words"):
        penjing.finetune("new:bert-tiny", data, out=tmp_path / "x", augment=["typos"], runtime=runtime, **TRAINED)


def test_rows_longer_than_the_window_are_read_in_parts_and_counted(tmp_path, runtime):
    lengths = [400 if i == 3 else 4 for i in range(60)]
    rows = [{"tokens": [f"w{i}", *(f"x{j}" for j in range(n))], "tags": ["N", *["O"] * n]} for i, n in enumerate(lengths)]
    folder = tmp_path / "long"
    folder.mkdir()
    for split, part in (("train", rows[:40]), ("validation", rows[40:50]), ("test", rows[50:])):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, part)), "utf-8")
    _, report = penjing.finetune("new:bert-tiny", folder, out=tmp_path / "x", runtime=runtime, **{**TRAINED, "epochs": 1})
    assert "1 training rows fill the model's window; they were read in overlapping windows, and no word was left out" in report.notes
