"""Explanations of models that have learnt something known, and of models that have learnt nothing."""

import csv
import random

import numpy
import pytest
import torch

import penjing
from penjing.core.contracts import Prediction
from penjing.core.errors import OptionError
from penjing.core.find import find
from penjing.core.image import Image
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.core.sound import Sound
from penjing.engine import create, load, reasons
from penjing.engine.asked import asked, randomized, row
from penjing.engine.reasons import require_fitting, require_label
from tests.conftest import BAD, GOOD, REST, write_reviews

METHODS = ("integrated-gradients", "occlusion", "shapley")
PLANTED = {*GOOD, *BAD}


def loaded(path, runtime):
    base = ModelDir.open(path)
    return load.load(base, load.task_for(base), runtime)


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Reviews in which one word decides, and as many without any, which are plain: else silence would speak for a label."""
    path, draw = write_reviews(tmp_path_factory.mktemp("planted") / "rows.csv", 1000), random.Random(1)
    plain = [" ".join([*draw.choices(REST, k=6), str(draw.randrange(10**6))]) for _ in range(500)]
    path.write_text(path.read_text("utf-8") + "".join(f"{text},plain\n" for text in plain), "utf-8")
    return path


@pytest.fixture(scope="module")
def texts(rows):
    with rows.open() as file:
        return [row["text"] for row in csv.DictReader(file) if row["label"] != "plain"][-40:]


def explained(model, texts, method, steps=None, **words):
    settings = find("methods.explain", method).Options(**({"steps": steps} if steps else {}))
    rows = [(text, {"text": text}, Prediction(None)) for text in texts]
    return reasons.explain(model, rows, method, settings, Runtime(threads=1, quiet=True), **words)


@pytest.fixture(scope="module")
def parent(rows, runtime, tmp_path_factory):
    out, words = tmp_path_factory.mktemp("models") / "planted", {"epochs": 4, "learning_rate": 1e-3, "precision": "fp32"}
    penjing.finetune("new:bert-tiny", rows, task="text-classification", out=out, runtime=runtime, **words)
    return loaded(out, runtime)


@pytest.mark.parametrize("method", METHODS)
def test_the_word_that_decides_has_the_highest_score(method, parent, texts):
    """Slopes at the input alone do not find it (`gradient-input`, `smooth-gradient`): there the answer is sure, and flat."""
    tops = [max(zip(each.scores, each.units))[1].text for each in explained(parent, texts, method)]
    assert numpy.mean([word in PLANTED for word in tops]) >= 0.9


def test_scores_that_should_add_up_do_so_within_a_hundredth(parent, texts):
    for method in ("integrated-gradients", "shapley"):
        assert max(each.gap for each in explained(parent, texts[:10], method)) <= 0.01


def test_the_scores_are_those_of_captum_called_by_hand_on_embeddings(parent, texts):
    from captum.attr import IntegratedGradients

    model, tokenizer = parent.model, parent.processor
    entry = tokenizer(texts[0], return_tensors="pt")
    table = model.get_input_embeddings()
    seen = table(entry["input_ids"]).detach()
    ids = torch.tensor([[i if i in tokenizer.all_special_ids else tokenizer.pad_token_id for i in entry["input_ids"][0].tolist()]])
    label = model(**entry).logits.argmax(-1).item()

    def answer(vectors):
        mask = entry["attention_mask"].expand(len(vectors), -1)
        return model(inputs_embeds=vectors, attention_mask=mask).logits[:, label]

    found = IntegratedGradients(answer).attribute(seen.requires_grad_(), table(ids).detach(), n_steps=32).sum(-1)[0].detach()
    words = entry.word_ids()
    wanted = [sum(float(found[t]) for t in range(len(words)) if words[t] == w) for w in range(max(w for w in words if w is not None) + 1)]
    (mine,) = explained(parent, texts[:1], "integrated-gradients", steps=32)
    numpy.testing.assert_allclose(mine.scores, wanted, atol=1e-6)


def test_a_model_with_random_weights_is_flagged_and_a_trained_one_is_not(parent, texts):
    trained = [any("random weights is moved" in text for text in each.warnings) for each in explained(parent, texts, "occlusion")]
    assert numpy.mean(trained) <= 0.05
    model, flagged = parent.model, []
    try:
        for seed in range(100, 103):
            parent.model = randomized(model, seed)
            flagged += [bool(each.warnings) for each in explained(parent, texts, "occlusion")]
    finally:
        parent.model = model
    assert numpy.mean(flagged) >= 0.95


def test_what_is_explained_is_the_number_of_the_label_that_was_answered_or_named(parent, texts):
    with torch.no_grad():
        logits = parent.model(**parent.processor(texts[0], return_tensors="pt")).logits[0]
    (answer,) = explained(parent, texts[:1], "occlusion")
    assert answer.whole == pytest.approx(float(logits.max()), abs=1e-5)
    for i, label in enumerate(parent.task.labels):
        (named,) = explained(parent, texts[:1], "occlusion", label=label)
        assert named.whole == pytest.approx(float(logits[i]), abs=1e-5)


def test_an_answer_that_is_not_there_is_refused(parent, texts):
    with pytest.raises(OptionError, match="--label cannot be 'goood'"):
        require_label(parent.task, "goood")
    with pytest.raises(OptionError, match="--part cannot be 3"):
        explained(parent, texts[:1], "occlusion", part=3)
    with pytest.raises(OptionError, match="grad-cam does not fit this model"):
        require_fitting(parent, {"text": texts[0]}, "grad-cam")


@pytest.mark.parametrize(("size", "media"), [("vit-mini", "image"), ("resnet-tiny", "image"), ("cnn-tiny", "sound")])
def test_patches_and_moments_have_scores_of_every_method_that_fits(size, media, runtime):
    """Of patches their attention and maps; of maps those alone."""
    draw = numpy.random.default_rng(0)
    column = {"image": "image", "sound": "audio"}[media]
    made = {
        "image": lambda: Image(draw.integers(0, 255, (32, 32, 3), dtype=numpy.uint8), "an image"),
        "sound": lambda: Sound(draw.standard_normal(8000).astype("float32") / 10, "a sound"),
    }[media]
    rows = [{column: made(), "label": label} for label in ("a", "b") * 4]
    model = create.create(size, find("tasks", f"{'audio' if media == 'sound' else media}-classification").TASK(["a", "b"]), rows, runtime)
    one = row(model.model, model.task, {column: rows[0][column]}, model.processor)
    seen = asked(model.model, model.task, one, model.processor)
    fitting = reasons.methods_for(seen)
    assert ("attention-rollout" in fitting) == (size == "vit-mini") and "grad-cam" in fitting
    for name in ("grad-cam", "occlusion", *(["attention-rollout"] if size == "vit-mini" else [])):
        method = find("methods.explain", name)
        scores = method.apply(seen, method.Options())
        assert scores.shape == (len(one.units),) and scores.isfinite().all() and (name == "occlusion" or scores.min() >= 0)
    if size == "vit-mini":
        side = model.model.config.patch_size
        assert len(one.units) == (32 // side) ** 2


def test_what_lies_beyond_the_window_is_said(parent, texts):
    (found,) = explained(parent, ["the film " * 400], "occlusion")
    assert any("lie beyond what the model reads" in text for text in found.warnings) and found.scores[-1] == 0


def test_an_input_of_which_all_units_are_there_is_the_input(parent, texts):
    one = row(parent.model, parent.task, {"text": texts[0]}, parent.processor)
    seen = asked(parent.model, parent.task, one, parent.processor)
    there = torch.tensor([[True] * seen.num_units, [False] * seen.num_units])
    torch.testing.assert_close(seen.partly(there), torch.cat([seen.seen, seen.nothing]))
