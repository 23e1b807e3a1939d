"""Translation and summaries through the whole life: learnt, asked, set side by side, made smaller; what cannot be done is said at once."""

import itertools
import json
import re

import pytest

import penjing
from penjing import cli
from penjing.core.errors import MissingExtra, OptionError, TaskError
from penjing.engine import teach

WORDS = [
    {"a": "ein", "the": "der", "my": "mein"},
    {"red": "rote", "old": "alte", "big": "große", "wet": "nasse"},
    {"dog": "Hund", "man": "Mann", "tree": "Baum", "hat": "Hut", "bus": "Bus", "fish": "Fisch"},
    {"runs": "läuft", "falls": "fällt"},
]
TRAINED = {"epochs": 6, "learning_rate": 3e-3, "precision": "fp32", "vocabulary": 320, "batch_rows": 16}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """144 sentences, which are translated word by word."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"en": " ".join(en for en, _ in pair), "de": " ".join(de for _, de in pair)}
        for pair in itertools.product(*(w.items() for w in WORDS))
    ]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return path


@pytest.fixture(scope="module")
def parent(few, data, tmp_path_factory, runtime):
    out = tmp_path_factory.mktemp("models") / "marian"
    return penjing.finetune("new:marian-tiny", data, task="translation", out=out, runtime=runtime, **TRAINED)


def test_it_learns_and_the_card_says_how_bleu_is_counted_and_from_what_to_what(parent):
    model, report = parent
    assert report.after["chrf"].value > 0.1 and report.after["bleu"].low is not None
    assert [point["loss"] for point in report.facts["training"]["curve"]][-1] < 3 < report.facts["training"]["curve"][0]["loss"]
    assert report.baseline["name"] == "NearestSentence" and report.facts["tokenizer"]["kind"] == "bpe"
    card = (model.path / "README.md").read_text("utf-8")
    assert report.notes[0].count("nrefs:1|case:mixed") == 2 and "tok:13a" in card and "translated from en to de" in card
    longest = json.loads((model.path / "generation_config.json").read_text("utf-8"))["max_new_tokens"]
    assert 4 <= longest <= 20


def test_the_few_lines_of_the_card_write_as_penjing_does(parent, capsys, runtime):
    model, _ = parent
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    exec(code.replace("Any text.", "the old man falls"), {})
    (found,) = penjing.predict(model.path, "the old man falls", runtime=runtime)
    assert capsys.readouterr().out.strip() == str([found["value"]])


def test_options_of_writing_reach_the_model_and_are_checked(parent, data, capsys, runtime):
    model, _ = parent
    asked = ["predict", str(model.path), "my big dog runs", "--quiet", "--threads=1"]
    said = {}
    for options in ([], ["--beams", "3"], ["--max-new-tokens", "1"], ["--temperature", "30", "--seed", "5"]):
        assert cli.main([*asked, *options]) == 0
        said[" ".join(options)] = capsys.readouterr().out.split("\t")[0]
    assert len(said["--max-new-tokens 1"]) < len(said[""]) and said["--temperature 30 --seed 5"] != said[""]
    with pytest.raises(OptionError, match="--max-new-tokens cannot be '0'"):
        penjing.predict(model.path, "a dog", max_new_tokens="0", runtime=runtime)
    greedy = penjing.evaluate(model.path, data, rows="tune", runtime=runtime)
    short = penjing.evaluate(model.path, data, rows="tune", max_new_tokens=1, runtime=runtime)
    assert short.after["bleu"].value < greedy.after["bleu"].value == pytest.approx(parent[1].after["bleu"].value)


def test_a_student_learns_from_its_answers(parent, data, tmp_path, runtime):
    model, _ = parent
    student, report = penjing.distill(model.path, data, student="new:marian-tiny", out=tmp_path / "student", epochs=1, runtime=runtime)
    assert student.task == "translation" and report.parent["sha256"] == model.sha256()
    assert report.facts["flips"]["n"] == report.after["bleu"].n


@pytest.mark.parametrize("column", ["text", "en"])
def test_a_student_learns_what_its_teacher_writes_and_is_measured_by_the_truth(parent, data, tmp_path, runtime, monkeypatch, column):
    learnt, learn = [], teach.learn

    def heard(student, loss, rows, tune, *more):
        learnt.append((rows, tune))
        return learn(student, loss, rows, tune, *more)

    monkeypatch.setattr(teach, "learn", heard)
    (tmp_path / "more.jsonl").write_text("".join(json.dumps({column: f"the dog {i}"}) + "\n" for i in range(5)), "utf-8")
    model, _ = parent
    words = {"layers": 1, "method": "sequences", "beams": 2, "epochs": 1, "unlabelled": str(tmp_path / "more.jsonl"), "runtime": runtime}
    _, report = penjing.distill(model.path, data, out=tmp_path / "student", **words)
    ((rows, tune),) = learnt
    truth = {row["en"]: [row["de"]] for row in map(json.loads, data.read_text("utf-8").splitlines())}
    said = [[found["value"]] for found in penjing.predict(model.path, str(data), beams=2, temperature=0, runtime=runtime)]
    wanted, written = dict(zip(truth, said)), {row["text"]: row["translation"] for row in rows}
    known = set(written) & set(truth)
    assert len(known) == len(rows) - 5 and all(written[text] == wanted[text] for text in known)
    assert any(written[text] != truth[text] for text in known) and all(row["translation"] == truth[row["text"]] for row in tune)
    assert report.facts["unlabelled"]["rows"] == 5 and report.after["bleu"].n == len(tune)


def test_what_cannot_be_done_is_said_before_anything_is(parent, data, text_parent, tmp_path, runtime, monkeypatch):
    model, _ = parent
    with pytest.raises(TaskError, match="do not write token by token") as raised:
        penjing.quantize(model.path, data, out=tmp_path / "q", runtime=runtime)
    assert raised.value.wanted and raised.value.fix
    with pytest.raises(TaskError, match="do not write token by token"):
        penjing.shrink(model.path, data, out=tmp_path / "s", runtime=runtime)
    with pytest.raises(TaskError, match="new:bert-tiny is not built for translation"):
        penjing.finetune("new:bert-tiny", data, task="translation", out=tmp_path / "b", runtime=runtime)
    with pytest.raises(OptionError, match="--beams is for answers that are written token by token"):
        penjing.predict(text_parent, "a dog", beams=2, runtime=runtime)
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(MissingExtra, match="this needs sacrebleu") as missing:
        penjing.finetune("new:marian-tiny", data, task="translation", out=tmp_path / "m", runtime=runtime)
    assert missing.value.fix == "pip install 'penjing[text]'"


def test_summaries_are_learnt_from_sentences_and_scored_beside_the_first_of_them(tmp_path, runtime):
    rows = [{"source": [f"Ship {i} is {kind}.", "It sails."], "titles": [f"{kind} ship"]} for i in range(16) for kind in ("old", "new")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    model, report = penjing.finetune(
        "new:t5-tiny", path, task="summarization", columns=["text=source", "summary=titles"], out=tmp_path / "t5", runtime=runtime,
        epochs=1, learning_rate=1e-3, vocabulary=320,
    )  # fmt: skip
    assert {"rouge_l", "rouge_1", "rouge_2"} <= report.after.keys() and report.baseline["name"] == "FirstSentence"
    assert model.config["model_type"] == "t5" and any(note.startswith("counted by rouge-score") for note in report.notes)
