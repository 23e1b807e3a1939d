"""Topics of a collection from the texts to the page: found, told by their words, measured, asked, made smaller."""

import csv
import json
import random
import re

import pytest
from transformers import AutoModel, AutoTokenizer

import penjing
from penjing import cli
from penjing.core.errors import DataError, OptionError, TaskError
from tests.conftest import BAD, GOOD


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    """Texts without a label, praise and blame in turn."""
    draw, path = random.Random(1), tmp_path_factory.mktemp("texts") / "texts.csv"
    with path.open("w", newline="") as file:
        write = csv.writer(file)
        write.writerow(["text"])
        write.writerows([f"the film was {' and '.join(draw.sample((GOOD, BAD)[i % 2], 2))} {i}"] for i in range(120))
    return path


@pytest.fixture(scope="module")
def clustered(few, text_parent, reviews, tmp_path_factory, runtime):
    """Two topics of reviews, as an encoder sees them that tells praise from blame."""
    return penjing.cluster(text_parent, reviews, topics=2, words=4, out=tmp_path_factory.mktemp("models") / "topics", runtime=runtime)


def test_topics_are_told_by_their_words_and_measured_beside_lda(clustered):
    model, report = clustered
    assert {frozenset(topic["words"]) for topic in report.facts["topics"]} == {frozenset(GOOD), frozenset(BAD)}
    assert report.facts["metric"] == "coherence" and report.after["purity"].value > 0.95 and report.after["diversity"].value == 1
    assert report.baseline["name"] == "LDA" and report.after["purity"].value > report.baseline["measures"]["purity"].value
    assert report.after["purity"].low is not None and sum(topic["rows"] for topic in report.facts["topics"]) > 600
    assert model.task == "topic-modeling" and report.parent["sha256"]


def test_the_directory_is_the_encoder_with_topics_in_its_config(clustered, text_parent):
    model, _ = clustered
    plain, parent = AutoModel.from_pretrained(model.path), AutoModel.from_pretrained(text_parent)
    assert all((value == parent.state_dict()[name]).all() for name, value in plain.state_dict().items())
    assert [*plain.config.id2label.values()] == [", ".join(words) for words in plain.config.topics["words"]]
    assert len(plain.config.topics["centres"][0]) == plain.config.hidden_size and AutoTokenizer.from_pretrained(model.path)


def test_the_page_draws_the_topics_and_the_card_tells_them(clustered):
    model, _ = clustered
    page = (model.path / "report.html").read_text("utf-8")
    assert "Topics" in page and 'id="step-0-topics' in page and "training texts lie nearest to each" in page


def test_a_text_is_answered_by_the_words_of_its_topic(clustered, capsys):
    model, _ = clustered
    assert cli.main(["predict", str(model.path), "a lovely bright room", "a dull film", "--quiet"]) == 0
    told = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [set(line[0].split(", ")) for line in told] == [set(GOOD), set(BAD)] and all(0.5 < float(line[1]) <= 1 for line in told)


@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_the_few_lines_of_the_card_answer_as_penjing_does(engine, clustered, small, capsys, runtime):
    model = clustered[0] if engine == "torch" else small[0]
    code = re.search("```python\n(.*?)```", (model.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    exec(code.replace("Any text.", "an awful, dull room"), {})
    (found,) = penjing.predict(model, "an awful, dull room", runtime=runtime)
    assert capsys.readouterr().out.strip() == str([found["value"]]) and set(found["value"].split(", ")) == set(BAD)


def test_texts_without_labels_are_measured_without_purity(clustered, unlabelled, runtime):
    report = penjing.evaluate(clustered[0], unlabelled, rows="all", runtime=runtime)
    assert {"coherence", "diversity"} <= report.after.keys() and "purity" not in report.after
    assert report.baseline["name"] == "LDA"


def test_the_number_of_topics_is_that_of_the_best_silhouette(few, text_parent, unlabelled, tmp_path, runtime):
    _, report = penjing.cluster(text_parent, unlabelled, out=tmp_path / "topics", runtime=runtime)
    tried = report.facts["silhouettes"]
    assert len(tried) == 10 and len(report.facts["topics"]) == int(max(tried, key=tried.get))


@pytest.fixture(scope="module")
def small(clustered, reviews, tmp_path_factory, runtime):
    return penjing.quantize(clustered[0], reviews, out=tmp_path_factory.mktemp("models") / "small", runtime=runtime)


def test_it_is_made_smaller_for_an_engine(clustered, small):
    model, report = small
    assert model.engine == "onnxruntime" and report.facts["flips"]["share"].value < 0.1
    assert report.after["purity"].value > 0.9 and model.bytes() < clustered[0].bytes()
    assert report.after["coherence"].low is None and all(row["truth"] is None for row in report.facts["differ"])


def test_what_makes_no_sense_is_refused_in_one_line(clustered, reviews, tmp_path, runtime):
    for stage, words in (("finetune", {}), ("distill", {"student": "new:bert-tiny"}), ("prune", {})):
        with pytest.raises(TaskError, match=f"^{stage} makes no sense for topic-modeling"):
            getattr(penjing, stage)(clustered[0], reviews, out=tmp_path / "x", runtime=runtime, **words)
    with pytest.raises(OptionError, match="cluster needs a trained model, not new:bert-tiny"):
        penjing.cluster("new:bert-tiny", reviews, out=tmp_path / "x", runtime=runtime)


def test_fewer_texts_than_topics_are_refused(text_parent, unlabelled, tmp_path, runtime):
    with pytest.raises(DataError, match="different texts among the train rows are too few for topics"):
        penjing.cluster(text_parent, unlabelled, topics=500, out=tmp_path / "x", runtime=runtime)


def test_the_same_command_again_finds_its_output(clustered, text_parent, reviews, capsys):
    model, _ = clustered
    words = ["--topics", "2", "--words", "4", "--out", str(model.path), "--threads", "1", "--json"]
    assert cli.main(["cluster", str(text_parent), str(reviews), *words]) == 0
    out, err = capsys.readouterr()
    assert "is already done" in err and json.loads(out)["facts"]["metric"] == "coherence"
