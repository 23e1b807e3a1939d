"""A student that is a shape of its teacher begins with the teacher's own most important parts."""

import csv

import pytest
import torch

import penjing
from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load


def test_a_student_may_be_the_teacher_with_fewer_layers_and_narrower_parts(text_parent, reviews, runtime, tmp_path):
    whole = ModelDir.open(text_parent)
    words = {"out": tmp_path / "small", "runtime": runtime, "learning_rate": 1e-3, "precision": "fp32"}
    model, report = penjing.distill(text_parent, reviews, layers=1, ffn=64, epochs=2, **words)
    assert (model.config["num_hidden_layers"], model.config["intermediate_size"]) == (1, 64)
    assert model.config["hidden_size"] == whole.config["hidden_size"] and report.after["accuracy"].value > 0.9


def test_a_student_may_be_the_teacher_with_a_narrower_stream(text_parent, reviews, runtime, tmp_path):
    words = {"out": tmp_path / "thin", "runtime": runtime, "learning_rate": 1e-3, "precision": "fp32"}
    model, report = penjing.distill(text_parent, reviews, layers=1, hidden=64, epochs=2, **words)
    assert (model.config["num_hidden_layers"], model.config["hidden_size"], model.config["num_attention_heads"]) == (1, 64, 1)
    assert report.after["accuracy"].value > 0.8


def test_what_the_student_has_of_its_teacher_is_the_teachers(text_parent, reviews, runtime, tmp_path):
    model, _ = penjing.distill(text_parent, reviews, layers=1, epochs=0, out=tmp_path / "untaught", runtime=runtime)
    mine, theirs = (load.load(ModelDir.open(each), load.task_for(ModelDir.open(each)), Runtime()).model for each in (model, text_parent))
    last = theirs.config.num_hidden_layers - 1
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name.replace("layer.0.", f"layer.{last}.")])


def test_states_that_are_learnt_come_nearer_to_the_teachers_than_by_answers_alone(text_parent, reviews, runtime, tmp_path):
    def apart(path):
        """Mean squared distance of the last states of the first token, which the answer is read from, each without its mean and size."""
        models = [load.load(ModelDir.open(each), load.task_for(ModelDir.open(each)), Runtime()) for each in (path, text_parent)]
        with reviews.open() as file:
            texts = [row["text"] for row, _ in zip(csv.DictReader(file), range(50))]
        inputs = models[1].processor(texts, return_tensors="pt", padding=True)
        with torch.no_grad():
            states = [each.model(**inputs, output_hidden_states=True).hidden_states[-1] for each in models]
        a, b = (torch.nn.functional.layer_norm(each, each.shape[-1:]) for each in states)
        return float((a - b).square().mean(-1)[:, 0].mean())

    words = {"layers": 1, "epochs": 1, "learning_rate": 1e-3, "precision": "fp32", "runtime": runtime}
    found = {}
    for method, settings in (("logits", {}), ("hidden", {"hidden_weight": 10.0})):
        model, _ = penjing.distill(text_parent, reviews, method=method, out=tmp_path / method, **words, **settings)
        found[method] = apart(model.path)
    assert found["hidden"] < 0.5 * found["logits"]


def test_states_of_another_width_are_refused(text_parent, reviews, runtime, tmp_path):
    with pytest.raises(ModelError, match="the states of this student and its teacher cannot be compared"):
        penjing.distill(text_parent, reviews, student="new:lstm-mini", method="hidden", out=tmp_path / "other", runtime=runtime)
