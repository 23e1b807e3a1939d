"""What surrounds every stage: keys, lineage, cards, and the same words on the command line and in Python."""

import json

import pytest
from huggingface_hub import ModelCard

import penjing
from penjing import cli
from penjing.core.data import DataOptions
from penjing.core.errors import OptionError
from penjing.core.model_dir import ModelDir
from penjing.stages import _frame

LAYERS = {"method": "layers", "epochs": 0}


@pytest.fixture(scope="module")
def pruned(few, tmp_path_factory, text_parent, reviews, runtime):
    """Half of the parent's layers, without recovery."""
    return penjing.prune(text_parent, reviews, out=tmp_path_factory.mktemp("pruned") / "half", runtime=runtime, **LAYERS)


def test_lineage_and_roles_are_inherited(pruned, text_parent):
    parent, child = ModelDir.open(text_parent), pruned[0]
    assert [step["stage"] for step in child.lineage] == ["finetune", "prune"] and child.lineage[:1] == parent.lineage
    assert child.lineage[1]["parent"] == {"path": str(text_parent), "sha256": parent.sha256()}
    assert child.lineage[1]["options"] == {"method": "layers", "epochs": 0.0}  # what is as usual is left out
    assert child.meta["roles"]["salt"] == parent.meta["roles"]["salt"] and child.meta["roles"]["sketch"] == parent.meta["roles"]["sketch"]
    assert {"seed", "versions", "date", "data", "key"} <= child.lineage[1].keys()


def test_the_card_is_one_that_the_hub_reads_and_says_that_tuning_rows_were_measured(pruned):
    card = ModelCard.load(pruned[0].path / "README.md")
    assert card.data.library_name == "transformers" and set(card.data.tags) >= {"penjing", "finetune", "prune"}
    assert all(result.dataset_split == "tune" and result.dataset_name == "reviews.csv" for result in card.data.eval_results)
    assert pruned[1].facts["measured_on"] == "tune" and pruned[1].before["accuracy"].n == 89
    assert (pruned[0].path / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_command_and_the_function_write_the_same_weights(tmp_path, text_parent, reviews, runtime):
    """Also: two trainings with the same seed and threads give the same bits, and another seed gives others."""
    words = {"epochs": 0.3, "learning_rate": 1e-3, "precision": "fp32"}
    model, _ = penjing.finetune(text_parent, reviews, out=tmp_path / "function", runtime=runtime, **words)
    given = [
        "finetune",
        str(text_parent),
        str(reviews),
        "--epochs",
        "0.3",
        "--learning-rate",
        "1e-3",
        "--precision=fp32",
        "--threads=1",
        "--quiet",
    ]
    assert cli.main([*given, "--out", str(tmp_path / "command")]) == 0
    assert cli.main([*given, "--out", str(tmp_path / "other"), "--seed=1"]) == 0
    written = {name: (tmp_path / name / "model.safetensors").read_bytes() for name in ("function", "command", "other")}
    assert written["function"] == written["command"] != written["other"]
    assert ModelDir.open(tmp_path / "command").meta["key"] == model.meta["key"]
    assert written["function"] != (text_parent / "model.safetensors").read_bytes()


def test_a_key_changes_with_everything_the_result_depends_on(pruned, text_parent, reviews, runtime):
    def key(stage="prune", model=text_parent, runtime=runtime, **words):
        return _frame.prepare(stage, model, reviews, words, runtime).inputs()

    usual = key()
    assert key() == usual and key(keep_share="0.5", epochs="3") == usual
    assert key(model=pruned[0].path)["model"] != usual["model"]
    assert key(keep_share=0.25)["options"] != usual["options"]
    assert key(runtime=penjing.Runtime(seed=1))["seed"] == 1
    distilled = [key("distill", student=student) for student in (str(pruned[0].path), str(text_parent))]
    assert distilled[0]["student"] == pruned[0].whole_sha256() != distilled[1]["student"]


def test_what_differs_is_named_with_both_values(pruned, text_parent, reviews, runtime):
    with pytest.raises(OptionError, match=r"half exists and was made otherwise: keep_share 0\.5, now 0\.25"):
        penjing.prune(text_parent, reviews, out=pruned[0].path, runtime=runtime, keep_share=0.25, **LAYERS)


def test_options_of_a_stage_reach_it_with_its_own_defaults():
    assert _frame.stage_options("distill", {}).training.epochs == 6
    assert _frame.stage_options("prune", {"keep_share": "0.3"}).settings.keep_share == 0.3
    assert _frame.stage_options("evaluate", {"columns": "text=a"}).data == DataOptions(columns=["text=a"])


def test_readers_and_the_other_commands_are_functions_too(text_parent, reviews, runtime):
    report = penjing.evaluate(text_parent, reviews, runtime=runtime, rows="tune")
    assert report.stage == "evaluate" and report.after["accuracy"].n == 89
    assert penjing.predict(text_parent, "lovely warm room", runtime=runtime)[0]["value"] == "good"
    assert penjing.check(reviews)["num_rows"] == 1000
    assert json.loads(report.to_json())["environment"]["versions"]["penjing"]
    assert all(getattr(penjing, name) is not None for name in dir(penjing))


def test_an_opened_model_is_taken_in_place_of_its_path(pruned, text_parent, reviews, runtime):
    parent, child = ModelDir.open(text_parent), pruned[0]
    report = penjing.compare(parent, reviews, child=child, runtime=runtime, rows="tune")
    assert report.model["path"] == str(child.path) and report.model["sha256"] == child.sha256()
    by_path = _frame.prepare("distill", text_parent, reviews, {"student": str(child.path)}, runtime)
    by_model = _frame.prepare("distill", parent, reviews, {"student": child}, runtime)
    assert by_model.inputs() == by_path.inputs()


def test_a_new_text_model_gets_the_tokenizer_that_was_asked_for(reviews, runtime, tmp_path):
    words = {"task": "text-classification", "tokenizer": "bpe", "vocabulary": 500, "epochs": 0, "runtime": runtime}
    model, report = penjing.finetune("new:bert-tiny", reviews, out=tmp_path / "bytes", **words)
    assert model.config["vocab_size"] == 500 and json.loads((model.path / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    facts = report.facts["tokenizer"]
    assert (facts["kind"], facts["vocabulary"], facts["unknown_share"]) == ("bpe", 500, 0)
    assert "bpe with 500 pieces learnt from the training rows" in (model.path / "README.md").read_text("utf-8")
    assert model.lineage[-1]["options"]["tokenizer"] == "bpe"


@pytest.mark.parametrize(
    ("stage", "size", "positions", "model_type"),
    [
        ("finetune", "bert-tiny", "rotary", "roformer"),
        ("pretrain", "llama-tiny", "nope", "smollm3"),
        ("pretrain", "llama-tiny", None, "llama"),
    ],
)
def test_positions_are_a_choice_where_transformers_has_the_same_architecture_with_others(
    stage, size, positions, model_type, reviews, runtime, tmp_path
):
    words = {"epochs": 0, "positions": positions, "runtime": runtime, **({"task": "text-classification"} if stage == "finetune" else {})}
    model, _ = getattr(penjing, stage)(f"new:{size}", reviews, out=tmp_path / "m", **words)
    assert model.config["model_type"] == model_type


def test_a_word_that_no_stage_knows_is_refused_in_python_too(text_parent, reviews, tmp_path):
    with pytest.raises(OptionError, match="no option --epoch"):
        penjing.finetune(text_parent, reviews, out=tmp_path / "x", epoch=3)
    with pytest.raises(OptionError, match="--out must be given"):
        penjing.finetune(text_parent, reviews)
    with pytest.raises(OptionError, match="--threads cannot be -1"):
        penjing.Runtime(threads=-1)
    with pytest.raises(AttributeError, match="no attribute 'finetun'"):
        penjing.finetun  # noqa: B018
