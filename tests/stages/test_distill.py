"""Students of every shape, what they learn of their teacher, and from which rows."""

import copy
import csv

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import penjing
from penjing.core.data import Data, DataOptions
from penjing.core.errors import ModelError, OptionError, TaskError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load
from penjing.methods.distill.relations import divergence
from penjing.tasks.text_classification import TextClassification
from tests.conftest import write_reviews

QUICK = {"epochs": 0.2, "precision": "fp32"}


def opened(path):
    """A model directory in memory."""
    return load.load(ModelDir.open(path), load.task_for(ModelDir.open(path)), Runtime())


@pytest.fixture(scope="module")
def narrow(text_parent, tmp_path_factory):
    """An untrained student with the teacher's tokenizer, half as wide, of three blocks."""
    found = opened(text_parent)
    config = copy.deepcopy(found.model.config)
    config.hidden_size, config.num_hidden_layers, config.intermediate_size = 64, 3, 96
    torch.manual_seed(0)
    found.model = type(found.model)(config)
    return load.save(found, tmp_path_factory.mktemp("narrow")).path


@pytest.fixture(scope="module")
def unlabelled(reviews, tmp_path_factory):
    """200 reviews without labels, 100 of them among the rows that are there."""
    folder = tmp_path_factory.mktemp("more")
    others = write_reviews(folder / "others.csv", 100, seed=9)
    texts = [row["text"] for path in (others, reviews) for row in list(csv.DictReader(path.read_text().splitlines()))[:100]]
    (folder / "unlabelled.csv").write_text("text\n" + "\n".join(texts) + "\n")
    return folder / "unlabelled.csv"


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
        models = [opened(each) for each in (path, text_parent)]
        inputs = texts_of(reviews, models[1].processor)
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


def test_a_student_of_another_width_learns_of_the_inside_and_is_a_plain_model_in_the_end(text_parent, reviews, narrow, runtime, tmp_path):
    """Relations of values in the last block come nearer to the teacher's than by answers alone."""
    words = {"student": str(narrow), "epochs": 1, "learning_rate": 3e-3, "precision": "fp32", "runtime": runtime}
    apart, extra = {}, {}
    for method, settings in (("logits", {}), ("hidden", {}), ("relations", {"relations": ["vv"], "relation_weight": 30.0})):
        model, report = penjing.distill(text_parent, reviews, method=method, out=tmp_path / method, **words, **settings)
        plain, info = AutoModelForSequenceClassification.from_pretrained(model.path, output_loading_info=True)
        assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert report.facts["parameters"] == plain.num_parameters()
        extra[method] = report.facts["training"]["learnt"]["parameters"] - plain.num_parameters()
        apart[method] = values_apart(plain, text_parent, reviews)
    assert extra == {"logits": 0, "hidden": 3 * 64 * 128, "relations": 0}
    assert apart["relations"] < 0.7 * apart["logits"]


def values_apart(student, teacher, reviews):
    """Mean divergence of the relations of values in the last blocks, in 8 heads."""
    inputs, states = texts_of(reviews, opened(teacher).processor), []
    for each in (student, opened(teacher).model):
        hook = each.bert.encoder.layer[-1].attention.self.value.register_forward_hook(lambda _, __, output: states.append((output, output)))
        with torch.no_grad():
            each(**inputs)
        hook.remove()
    return float(divergence(*states, inputs["attention_mask"].float(), 8).mean())


def texts_of(reviews, processor):
    """50 reviews as a model reads them."""
    with reviews.open() as file:
        return processor([row["text"] for row, _ in zip(csv.DictReader(file), range(50))], return_tensors="pt", padding=True)


def test_a_recurrent_student_learns_from_a_transformer(text_parent, reviews, runtime, tmp_path):
    words = {"student": "new:lstm-mini", "epochs": 2, "learning_rate": 5e-3, "precision": "fp32", "runtime": runtime}
    model, report = penjing.distill(text_parent, reviews, out=tmp_path / "out", **words)
    assert model.config["model_type"] == "penjing_rnn" and report.after["accuracy"].value > 0.8
    assert report.facts["flips"]["share"].value < 0.2


def test_a_student_larger_than_its_teacher_is_refused_with_both_numbers(text_parent, reviews, runtime, tmp_path):
    teacher = opened(text_parent).parameters
    with pytest.raises(
        ModelError, match=f"new:bert-mini is larger than its teacher: [0-9,]+ parameters, the teacher {teacher:,}"
    ) as caught:
        penjing.distill(text_parent, reviews, student="new:bert-mini", out=tmp_path / "out", runtime=runtime)
    assert caught.value.wanted and caught.value.fix


def test_a_student_that_reads_other_tokens_is_refused(text_parent, tmp_path, runtime):
    other = write_reviews(tmp_path / "other.csv", 40, seed=3)
    words = {"task": "text-classification", "epochs": 0, "vocabulary": 300, "runtime": runtime}
    student, _ = penjing.finetune("new:bert-tiny", other, out=tmp_path / "student", **words)
    with pytest.raises(ModelError, match="reads other tokens than its teacher") as caught:
        penjing.distill(text_parent, other, student=str(student.path), out=tmp_path / "out", runtime=runtime)
    assert caught.value.wanted and caught.value.fix


def test_rows_without_labels_are_learnt_from_and_none_that_measures_is_among_them(text_parent, reviews, unlabelled, runtime, tmp_path):
    words = {"student": "new:bert-tiny", "runtime": runtime, **QUICK}
    alone, _ = penjing.distill(text_parent, reviews, out=tmp_path / "alone", **words)
    model, report = penjing.distill(text_parent, reviews, out=tmp_path / "out", unlabelled=str(unlabelled), **words)
    found = report.facts["unlabelled"]
    assert alone.sha256() != model.sha256() and found["rows"] == 100
    left_out = [note for note in report.notes if note.startswith("unlabelled.csv: ")]
    assert sum(int(note.split()[1]) for note in left_out) == 100 and len(left_out) == 3
    assert "100 rows without labels, unlabelled.csv, on which the teacher's answers were learnt" in (model.path / "README.md").read_text()
    others = Data.open(unlabelled.parent / "others.csv", DataOptions(), TextClassification)
    assert others.seen_share(ModelDir.open(model.path), "train") > 0.9 > others.seen_share(ModelDir.open(alone.path), "train")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"soft_share": 0.0}, "--soft-share 0 learns nothing of the teacher"),
        ({"labels": ["good", "bad"], "student": "new:bert-tiny"}, "with --labels no row needs one"),
    ],
)
def test_rows_without_labels_of_which_nothing_could_be_learnt_are_refused(text_parent, reviews, unlabelled, runtime, tmp_path, words, said):
    words = {"layers": 1, **words} if "student" not in words else words
    base = text_parent if "labels" not in words else encoder(text_parent, tmp_path)
    with pytest.raises(OptionError, match=said) as caught:
        penjing.distill(base, reviews, unlabelled=str(unlabelled), out=tmp_path / "out", runtime=runtime, **words)
    assert caught.value.wanted and caught.value.fix


def test_a_method_of_distillation_is_not_for_a_teacher_that_is_asked_by_words(text_parent, reviews, tmp_path, runtime):
    with pytest.raises(OptionError, match="--method is about a teacher's outputs, and with --labels"):
        penjing.distill(
            encoder(text_parent, tmp_path), reviews, labels=["good", "bad"], student="new:bert-tiny", method="relations",
            out=tmp_path / "out", runtime=runtime,
        )  # fmt: skip


def encoder(text_parent, folder):
    """The body of the teacher, which has learnt no labels."""
    found = opened(text_parent)
    found.model.bert.save_pretrained(folder / "body")
    found.processor.save_pretrained(folder / "body")
    return folder / "body"


def test_excerpts_are_for_students_and_refused_where_labels_are_learnt(text_parent, reviews, tmp_path, runtime):
    words = {"augment": ["excerpts"], "runtime": runtime, **QUICK}
    plain, _ = penjing.distill(text_parent, reviews, layers=1, out=tmp_path / "plain", **{**words, "augment": None})
    model, _ = penjing.distill(text_parent, reviews, layers=1, out=tmp_path / "excerpts", **words)
    pruned, _ = penjing.prune(text_parent, reviews, method="layers", out=tmp_path / "pruned", **words)
    assert model.sha256() == pruned.sha256() != plain.sha256()  # both leave the last block, and teach it
    with pytest.raises(OptionError, match="--augment excerpts changes rows so that their labels need not hold") as caught:
        penjing.finetune(text_parent, reviews, out=tmp_path / "out", **words)
    assert caught.value.wanted == "typos, word-noise" and "penjing distill" in caught.value.fix


def test_what_writes_answers_is_refused_where_none_are_written(text_parent, reviews, tmp_path, runtime):
    for stage, words in ((penjing.distill, {"method": "sequences", "layers": 1}), (penjing.prune, {"recovery": "sequences"})):
        with pytest.raises(TaskError, match="sequences is for answers that are written token by token") as caught:
            stage(text_parent, reviews, out=tmp_path / "out", runtime=runtime, **words)
        assert "--method logits" in caught.value.fix
