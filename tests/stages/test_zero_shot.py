"""Labels by their words alone: asked, measured, and as teacher of a classifier on rows without labels."""

import csv

import pytest
from transformers import AutoModel, AutoTokenizer

import penjing
from penjing import cli
from penjing.core.errors import DataError, ModelError, OptionError, PenjingError

LABELS = "good=lovely splendid warm bright,bad=dull awful cold broken"


@pytest.fixture(scope="module")
def encoder(text_parent, tmp_path_factory):
    """A small encoder that knows praise from blame and has no labels."""
    path = tmp_path_factory.mktemp("models") / "encoder"
    AutoModel.from_pretrained(text_parent).save_pretrained(path)
    AutoTokenizer.from_pretrained(text_parent).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def texts(reviews, tmp_path_factory):
    """300 of the reviews without their labels."""
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    with reviews.open(newline="") as given, path.open("w", newline="") as file:
        csv.writer(file).writerows([row[:1] for row in list(csv.reader(given))[:301]])
    return path


def test_texts_are_labelled_by_words_from_the_command_line(encoder, capsys):
    assert cli.main(["predict", str(encoder), "a lovely room", "an awful film", "--labels", LABELS, "--quiet"]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["good", "bad"]


def test_it_is_measured_beside_the_most_frequent_label(few, encoder, reviews, runtime):
    report = penjing.evaluate(encoder, reviews, labels=LABELS.split(","), rows="tune", runtime=runtime)
    assert report.facts["task"] == "zero-shot-classification" and report.baseline["name"] == "DummyClassifier"
    assert report.after["accuracy"].value > 0.95 > report.baseline["measures"]["accuracy"].value and "confusion" in report.facts


def test_a_classifier_learns_from_its_answers_to_rows_without_labels(few, encoder, texts, reviews, tmp_path, runtime):
    words = {"student": "new:bert-tiny", "labels": LABELS.split(","), "epochs": 4, "learning_rate": 2e-3, "precision": "fp32"}
    student, report = penjing.distill(encoder, texts, out=tmp_path / "student", runtime=runtime, **words)
    assert report.facts["metric"] == "agreement" and report.after["agreement"].value > 0.8 and report.baseline
    assert student.task == "text-classification" and student.labels == ["good", "bad"] and report.parent["path"] == str(encoder)
    answers = penjing.predict(student, ["a lovely room", "an awful film"], runtime=runtime)
    assert [answer["value"] for answer in answers] == ["good", "bad"]


@pytest.mark.parametrize(
    ("labels", "error", "said"),
    [
        (["one"], OptionError, "--labels cannot be 'one'"),
        (["a", "b", "a = another"], OptionError, "--labels names 'a' twice"),
        (["a", " "], OptionError, "--labels cannot be 'a, '"),
        (["good", "poor"], DataError, "label 'bad' is not one this model knows.*\n.*'good' or 'poor'.*\n.*name it in --labels"),
    ],
)
def test_labels_that_cannot_be_are_refused_before_anything_is_measured(encoder, reviews, runtime, labels, error, said):
    with pytest.raises(error, match=said):
        penjing.evaluate(encoder, reviews, labels=labels, runtime=runtime)


def test_what_is_about_a_teachers_outputs_is_refused_where_its_answers_are_learnt(encoder, texts, tmp_path, runtime):
    words = {"student": "new:bert-tiny", "labels": LABELS.split(","), "temperature": 3.0}
    with pytest.raises(OptionError, match="--temperature is about a teacher's outputs"):
        penjing.distill(encoder, texts, out=tmp_path / "x", runtime=runtime, **words)


def test_a_model_with_labels_of_its_own_is_not_asked_about_others(text_parent, runtime):
    with pytest.raises(ModelError, match="answers with labels of its own: 'bad' or 'good'"):
        penjing.predict(text_parent, "a room", labels=["a", "b"], runtime=runtime)


def test_an_encoder_without_labels_says_how_it_can_be_asked(encoder, reviews, runtime):
    with pytest.raises(PenjingError) as caught:
        penjing.evaluate(encoder, reviews, runtime=runtime)
    assert "--labels" in str(caught.value)
