"""Many labels and numbers through the whole life: trained, made smaller, proven, and opened by plain transformers."""

import json
import random

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import penjing
from penjing import cli
from penjing.core.errors import DataError, PenjingError
from penjing.core.model_dir import ModelDir
from tests.conftest import BAD, GOOD, REST

TRAINED = {"epochs": 4, "learning_rate": 2e-3, "precision": "fp32"}


def texts(num_rows=400):
    """(text, words that praise, words that blame) of so many rows, no two alike."""
    draw = random.Random(0)
    for _ in range(num_rows):
        good, bad = draw.randrange(3), draw.randrange(2)
        words = [*draw.choices(REST, k=3), *draw.choices(GOOD[:1], k=good), *draw.choices(BAD[:1], k=bad), str(draw.randrange(10**6))]
        draw.shuffle(words)
        yield " ".join(words), good, bad


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same rows with lists of labels, and with a number around 20,000; ten rows of each speaker."""
    folder = tmp_path_factory.mktemp("heads")
    with (folder / "many.jsonl").open("w") as many, (folder / "number.csv").open("w") as number:
        number.write("text,price,who\n")
        for i, (text, good, bad) in enumerate(texts()):
            labels = [*(["praise"] if good else []), *(["blame"] if bad else [])]
            many.write(json.dumps({"text": text, "label": labels, "who": f"p{i // 10}"}) + "\n")
            number.write(f"{text},{20000 + 3000 * good - 5000 * bad},p{i // 10}\n")
    return {"many-labels": folder / "many.jsonl", "number": folder / "number.csv"}


WORDS = {"many-labels": {}, "number": {"head": "number", "columns": "label=price"}}
COLUMNS = {"many-labels": {}, "number": {"columns": "label=price"}}


@pytest.fixture(scope="module", params=WORDS)
def parent(request, few, data, tmp_path_factory, runtime):
    """(kind of answer, model, report) of a small BERT that has learnt the rows."""
    head = request.param
    words = {**WORDS[head], **TRAINED, "groups": "who"}
    out = tmp_path_factory.mktemp("models") / head
    return head, *penjing.finetune("new:bert-tiny", data[head], task="text-classification", out=out, runtime=runtime, **words)


def test_it_learns_and_says_so_in_its_own_metric(parent):
    head, model, report = parent
    metric = {"many-labels": "micro_f1", "number": "r2"}[head]
    assert report.facts["metric"] == metric and report.after[metric].value > 0.4
    assert model.head == head and model.labels == {"many-labels": ["blame", "praise"], "number": []}[head]
    assert report.baseline["name"] == {"many-labels": "OneVsRest", "number": "Ridge"}[head] and "confusion" not in report.facts
    assert [part["n"] for part in report.facts["groups"]["largest"]] == sorted(
        (p["n"] for p in report.facts["groups"]["largest"]), reverse=True
    )


def test_plain_transformers_agrees(parent, runtime):
    head, model, _ = parent
    plain, tokenizer = AutoModelForSequenceClassification.from_pretrained(model.path), AutoTokenizer.from_pretrained(model.path)
    asked = ["the lovely film lovely", "a dull room", "was very quite"]
    with torch.inference_mode():
        logits = plain(**tokenizer(asked, return_tensors="pt", padding=True)).logits
    answers = [answer["value"] for answer in penjing.predict(model.path, asked, runtime=runtime)]
    if head == "number":
        assert plain.config.problem_type == "regression" and answers == pytest.approx(logits[:, 0].tolist(), rel=1e-4)
    else:
        assert plain.config.problem_type == "multi_label_classification"
        chances = logits.sigmoid().tolist()
        assert answers == [[plain.config.id2label[i] for i in range(2) if row[i] > plain.config.threshold] for row in chances]


def test_a_directory_of_transformers_opens_as_what_its_config_says(parent, tmp_path):
    head, model, _ = parent
    AutoModelForSequenceClassification.from_pretrained(model.path).save_pretrained(tmp_path)
    assert ModelDir.open(tmp_path).head == head and ModelDir.open(tmp_path).labels == model.labels


@pytest.mark.parametrize("stage", ["prune", "distill", "quantize"])
def test_every_way_to_make_it_smaller_works(stage, parent, data, tmp_path, runtime):
    head, model, _ = parent
    words = {"prune": {"method": "layers", "keep_share": 0.5}, "distill": {"student": "new:bert-tiny"}, "quantize": {}}[stage]
    training = {**TRAINED, "epochs": 2} if stage != "quantize" else {}
    small, report = getattr(penjing, stage)(
        model.path, data[head], out=tmp_path / "small", runtime=runtime, groups="who", **words, **training, **COLUMNS[head]
    )
    assert small.head == head and small.labels == model.labels and report.facts["parity"]
    assert report.facts["metric"] in report.before and ("flips" in report.facts) == (head != "number")
    assert all(type(row["truth"]) is {"many-labels": list, "number": float}[head] for row in report.facts["differ"])


def test_shrinking_is_proven_by_groups(parent, data, tmp_path, runtime, capsys):
    head, model, _ = parent
    words = {"floor": "60", "quantize": False, "epochs": 1, "learning_rate": 1e-3, "candidates": 1, "groups": "who"}
    _, report = penjing.shrink(model.path, data[head], out=tmp_path / "small", runtime=runtime, **words, **COLUMNS[head])
    proof = report.facts["proof"]
    assert proof["units"] == "groups" and proof["n"] <= 12 and proof["method"].startswith("paired bootstrap over groups")
    assert "standard error" in proof["expected"] and proof["rows_needed"] >= proof["rows_at_least"]
    card = (tmp_path / "small" / "README.md").read_text("utf-8")
    assert "## By group" in card and "rows grouped by who" in card and f"{proof['n']} groups of rows no step has seen" in card


def test_predict_prints_labels_and_numbers(parent, capsys):
    head, model, _ = parent
    assert cli.main(["predict", str(model.path), "the lovely film lovely", "--quiet"]) == 0
    answer = capsys.readouterr().out.split("\t")
    assert answer[0] == "praise" if head == "many-labels" else 15_000 < float(answer[0]) < 30_000
    assert len(answer) == {"many-labels": 3, "number": 2}[head]


def test_class_weights_are_told_on_the_card(data, tmp_path, runtime):
    words = {"task": "text-classification", "epochs": 0, "class_weights": "balanced"}
    _, report = penjing.finetune("new:bert-tiny", data["many-labels"], out=tmp_path / "x", runtime=runtime, **words)
    assert any("rare labels counted as much" in note for note in report.notes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"head": "one-label"}, "--head cannot be 'one-label': .* answers with number"),
        ({"class_weights": "balanced"}, "--class-weights weigh labels"),
        ({"label_smoothing": 0.1}, "--label-smoothing spreads labels"),
        ({"groups": "whom"}, "no column 'whom'"),
        ({"head": "many-labels", "new_head": True}, "column 'label' holds .*string"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(parent, data, tmp_path, runtime, words, said):
    head, model, _ = parent
    if head != "number":
        pytest.skip("these are about numbers")
    with pytest.raises(PenjingError, match=said):
        penjing.finetune(model.path, data["number"], out=tmp_path / "x", runtime=runtime, columns="label=price", **words)


def test_a_text_that_is_no_number_is_named_with_its_row(tmp_path, runtime):
    (tmp_path / "prices.csv").write_text("text,label\nfine,3.5\ngood,cheap\n")
    words = {"task": "text-classification", "head": "number"}
    with pytest.raises(DataError, match=r"prices.csv, row 3: label 'cheap' cannot be read as numbers"):
        penjing.finetune("new:bert-tiny", tmp_path / "prices.csv", out=tmp_path / "x", runtime=runtime, **words)


def test_groups_that_occur_in_every_split_leave_no_rows_and_the_error_says_why(tmp_path, runtime):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("text,label,domain\n" + "".join(f"{split} {i},{i % 2},books\n" for i in range(20)))
    words = {"task": "text-classification", "groups": "domain"}
    with pytest.raises(DataError, match=r"no train rows among 40 \(train: \d+ rows left out, whose domain occurs in (tune|proof) too\)"):
        penjing.finetune("new:bert-tiny", tmp_path, out=tmp_path / "x", runtime=runtime, **words)
