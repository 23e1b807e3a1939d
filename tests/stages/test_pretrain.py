"""Text without labels through the whole life: a tokenizer and a model learnt from it, taught to another kind, quantized, asked."""

import json
import random
import re

import pytest

import penjing
from penjing import cli
from penjing.core.errors import ModelError, OptionError, TaskError
from penjing.stages.run import load_recipe, steps

SIZES, THINGS, DOES = ["old", "young", "small", "tall"], ["tree", "pine", "maple", "moss"], ["grows", "sleeps", "waits"]
BRIEF = {"epochs": 4, "learning_rate": 3e-3, "batch_rows": 16, "vocabulary": 400, "context": 32}


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A text of sentences of which most of the next words can be known."""
    draw, path = random.Random(0), tmp_path_factory.mktemp("story") / "story.txt"
    lines = [f"The {draw.choice(SIZES)} {draw.choice(THINGS)} {draw.choice(DOES)} in garden {draw.randrange(100)}.\n" for _ in range(900)]
    path.write_text("".join(lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def grown(story, tmp_path_factory, runtime):
    """A small GPT that has read it, and its report."""
    return penjing.pretrain("new:gpt-tiny", story, out=tmp_path_factory.mktemp("models") / "gpt", runtime=runtime, **BRIEF)


@pytest.fixture(scope="module")
def filler(story, tmp_path_factory, runtime):
    """A small BERT that has read it."""
    return penjing.pretrain("new:bert-tiny", story, out=tmp_path_factory.mktemp("models") / "bert", runtime=runtime, **BRIEF)


def test_it_learns_the_text_and_the_card_says_how_well_and_what_it_writes(grown):
    model, report = grown
    assert model.task == "text-generation" and model.labels is None and report.facts["corpus"]["context"] == 32
    assert report.after["perplexity"].value < 60 and report.after["perplexity"].better == "lower"
    assert report.baseline["name"] == "NGrams" and set(report.baseline["measures"]) >= {"accuracy", "perplexity", "bits_per_byte"}
    assert len(report.facts["training"]["curve"]) == 10 and report.facts["tokenizer"]["kind"] == "bpe"
    page, card = ((model.path / name).read_text("utf-8") for name in ("report.html", "README.md"))
    assert "What it writes" in page and "What it writes" in card and " ".join(report.facts["samples"][0]["child"].split()) in card


def test_the_same_call_is_already_done(grown, story, runtime):
    model, _ = grown
    again, _ = penjing.pretrain("new:gpt-tiny", story, out=model.path, runtime=runtime, **BRIEF)
    assert again.sha256() == model.sha256()


def test_it_goes_on_with_a_text_in_the_same_way_each_time_and_another_model_goes_on_learning(grown, story, runtime, tmp_path, capsys):
    model, report = grown
    first, second = (penjing.predict(model, ["The old"], max_new_tokens=8, runtime=runtime)[0]["value"] for _ in range(2))
    assert first == second and first.strip()
    assert cli.main(["predict", str(model.path), "The old", "--max-new-tokens=8", "--threads=1", "--quiet"]) == 0
    assert capsys.readouterr().out == first.replace("\n", " ⏎ ") + "\tThe old\n"
    further, more = penjing.pretrain(model, story, out=tmp_path / "further", epochs=1, batch_rows=16, runtime=runtime)
    assert len(further.lineage) == 2 and more.after["perplexity"].value < 1.1 * report.after["perplexity"].value


def test_it_becomes_another_kind_of_model_fewer_blocks_and_int8_which_writes(grown, story, runtime, tmp_path, capsys):
    model, _ = grown
    brief = {"epochs": 0.3, "batch_rows": 8, "runtime": runtime}
    llama, report = penjing.distill(model, story, student="new:llama-tiny", out=tmp_path / "llama", **brief)
    assert llama.config["model_type"] == "llama" and {"parent", "child"} <= report.facts["samples"][0].keys()
    fewer, _ = penjing.prune(model, story, method="layers", out=tmp_path / "fewer", **brief)
    assert fewer.config["n_layer"] == 1
    assert all(json.loads((made.path / "generation_config.json").read_text())["temperature"] == 0.8 for made in (model, llama, fewer))
    small, report = penjing.quantize(model, story, engine="onnxruntime", out=tmp_path / "int8", runtime=runtime)
    assert small.bytes() < 0.35 * model.bytes() and report.after["accuracy"].value > report.before["accuracy"].value - 0.05
    assert abs(penjing.evaluate(small, story, rows="tune", runtime=runtime).after["accuracy"].value - report.after["accuracy"].value) < 1e-6
    assert report.facts["samples"][0]["child"] and json.loads((small.path / "generation_config.json").read_text())["temperature"] == 0.8
    (answer,) = penjing.predict(small, ["The old"], max_new_tokens=20, temperature=0, runtime=runtime)
    code = re.search("```python\n(.*?)```", (small.path / "README.md").read_text("utf-8"), re.DOTALL)[1]
    capsys.readouterr()
    exec(code.replace("Any text.", "The old"), {})
    assert capsys.readouterr().out == answer["value"]


def test_it_learns_to_answer_in_a_chat(grown, runtime, tmp_path):
    chats = [[{"role": "user", "content": f"Which garden is {i}?"}, {"role": "assistant", "content": f"Garden {i}."}] for i in range(60)]
    (tmp_path / "chats.jsonl").write_text("\n".join(json.dumps({"messages": chat}) for chat in chats))
    model, report = penjing.finetune(
        grown[0], tmp_path / "chats.jsonl", epochs=6, out=tmp_path / "chat", runtime=runtime, learning_rate=3e-3
    )
    (answer, *_) = penjing.predict(model, [str(tmp_path / "chats.jsonl")], max_new_tokens=4, runtime=runtime)
    assert report.after["accuracy"].value > 0.3 and isinstance(answer["value"], str)


def test_an_encoder_fills_masks_and_its_body_learns_another_task(filler, reviews, runtime, tmp_path):
    model, report = filler
    assert model.task == "fill-mask" and "bits_per_byte" not in report.after and report.after["accuracy"].value > 0.15
    (answer,) = penjing.predict(model, ["The [MASK] tree grows in garden 7."], runtime=runtime)
    assert answer["value"].startswith("The ") and answer["value"].endswith(" tree grows in garden 7.") and 0 < answer["score"] < 1
    more, _ = penjing.finetune(model, reviews, task="text-classification", out=tmp_path / "reviews", epochs=0.2, runtime=runtime)
    assert more.labels == ["bad", "good"] and [step["stage"] for step in more.lineage] == ["pretrain", "finetune"]


def test_finetuning_draws_masks_anew_in_every_epoch(filler, story, runtime, tmp_path):
    _, report = penjing.finetune(filler[0], story, epochs=2, batch_rows=64, out=tmp_path / "more", runtime=runtime)
    assert report.facts["task"] == "fill-mask" and len(report.facts["training"]["curve"]) == 2


@pytest.mark.parametrize(
    ("size", "words", "error", "said"),
    [
        ("new:bert-tiny", {"task": "text-generation"}, TaskError, "not built for text-generation"),
        ("new:gpt-tiny", {"task": "fill-mask"}, TaskError, "not built for fill-mask"),
        ("new:gpt-tiny", {"task": "text-classification"}, TaskError, "pretrain makes no sense for text-classification"),
        ("new:gpt-tiny", {"tokenizer": "wordpiece"}, OptionError, "loses capitals and spaces"),
        ("new:gpt-tinny", {}, ModelError, "no size called 'gpt-tinny'"),
        ("new:cnn-tiny", {}, TaskError, "does not say which task"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_read(story, runtime, tmp_path, size, words, error, said):
    with pytest.raises(error, match=said):
        penjing.pretrain(size, story, out=tmp_path / "x", runtime=runtime, **words)


def test_a_directory_of_another_kind_and_a_window_for_a_model_that_has_one_are_refused(filler, grown, story, runtime, tmp_path):
    with pytest.raises(TaskError, match="model of type bert, which is not built for text-generation"):
        penjing.finetune(filler[0], story, task="text-generation", out=tmp_path / "x", runtime=runtime)
    with pytest.raises(OptionError, match="--context is not for"):
        penjing.pretrain(grown[0], story, context=64, out=tmp_path / "x", runtime=runtime)


def test_the_bundled_recipe_grows_teaches_and_quantizes_in_words_that_its_stages_know():
    path, plan = load_recipe("python-docs", {})
    found = {name: (words["stage"], words["model"]) for name, words in steps(plan, path)}
    assert found == {
        "grown": ("pretrain", "new:llama-mini"),
        "tuned": ("finetune", "grown"),
        "small": ("distill", "tuned"),
        "int8": ("quantize", "small"),
    }
