"""Pushes against a step of gradient descent that is really taken, likeness and prototypes by hand."""

import csv

import numpy
import pytest
import torch

import penjing
from penjing.core.errors import DataError, TaskError
from penjing.core.model_dir import ModelDir
from penjing.engine import influence, load

LABELS = {"bad": 0, "good": 1}


@pytest.fixture(scope="module")
def rows(reviews):
    with reviews.open() as file:
        return [*csv.DictReader(file)]


@pytest.fixture
def loaded(text_parent, runtime):
    base = ModelDir.open(text_parent)
    return load.load(base, load.task_for(base), runtime)


def logits_of(loaded, row):
    return loaded.model(**loaded.processor(row["text"], return_tensors="pt")).logits


def test_a_push_is_what_a_step_on_the_last_layer_changes(loaded, rows):
    """The last layer is linear, so a step of any size changes a logit by exactly its slope times the step."""
    trained, asked, rate = rows[:5], rows[10:13], 10.0
    truths = [LABELS[row["label"]] for row in trained]
    pushed = influence.pushes(influence.read(loaded, asked), influence.read(loaded, trained), truths, [0, 1, 1])
    last = loaded.model.classifier
    for i, row in enumerate(trained):
        with torch.no_grad():
            before = [logits_of(loaded, each)[0, answer].item() for each, answer in zip(asked, (0, 1, 1))]
        loss = torch.nn.functional.cross_entropy(logits_of(loaded, row), torch.tensor([truths[i]]))
        slopes = torch.autograd.grad(loss, [last.weight, last.bias])
        with torch.no_grad():
            for weight, slope in zip((last.weight, last.bias), slopes):
                weight -= slope * rate
            after = [logits_of(loaded, each)[0, answer].item() for each, answer in zip(asked, (0, 1, 1))]
            for weight, slope in zip((last.weight, last.bias), slopes):
                weight += slope * rate
        moved = (numpy.array(after) - before) / rate
        numpy.testing.assert_allclose(pushed[:, i], moved, rtol=0.05, atol=2e-3 * numpy.abs(moved).max() + 1e-7)


def test_a_row_is_most_like_itself_and_a_prototype_lies_in_the_middle(loaded, rows):
    read = influence.read(loaded, rows[:30])
    assert (influence.likeness(read, read).argmax(1) == numpy.arange(30)).all()
    answers = [row["label"] for row in rows[:30]]
    for answer, place in influence.prototypes(read, answers).items():
        mine = [i for i in range(30) if answers[i] == answer]
        middle = read.states[mine].mean(0)
        assert min(mine, key=lambda i: ((read.states[i] - middle) ** 2).sum()) == place


def test_explain_names_the_rows_behind_an_answer(text_parent, reviews, runtime, tmp_path):
    words = {"method": "occlusion", "among": str(reviews), "nearest": 4, "runtime": runtime}
    (found,) = penjing.explain(text_parent, "the splendid room", out=tmp_path / "why.html", **words)
    assert len(found["pushed_by"]) == len(found["nearest"]) == 4
    assert {each["label"] for each in found["pushed_by"]} == {"good"}  # only a row of the same label pulls its logit up by so much
    assert [each["score"] for each in found["nearest"]] == sorted((each["score"] for each in found["nearest"]), reverse=True)
    assert "Training rows that pushed this answer most" in (tmp_path / "why.html").read_text("utf-8")
    (tmp_path / "odd.csv").write_text("text,label\nfine,goood\nbad,bad\n")
    with pytest.raises(DataError, match=r"odd.csv, row 2: no label 'goood' in this model"):
        penjing.explain(text_parent, "the splendid room", **{**words, "among": str(tmp_path / "odd.csv")})


def test_what_has_no_such_layer_is_refused(tmp_path, runtime):
    text = tmp_path / "story.txt"
    text.write_text("\n".join(f"once upon a time there were {i} trees in a pot" for i in range(60)))
    model, _ = penjing.pretrain("new:gpt-tiny", text, out=tmp_path / "gpt", epochs=0, context=16, runtime=runtime)
    with pytest.raises(TaskError, match="training rows are traced through a last layer"):
        penjing.explain(model.path, "once upon", among=str(text), method="occlusion", runtime=runtime)
