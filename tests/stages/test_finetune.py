"""Every way of finetuning through the stage: an ordinary directory, what learnt on its report, and refusals in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file

import penjing
from penjing.core.errors import ModelError, OptionError
from penjing.core.report import Report
from penjing.stages import run

QUICK = {"epochs": 0.2, "learning_rate": 1e-3, "precision": "fp32"}
RECIPE = 'title = "Two ways"\n' + "".join(
    f'[{name}]\nstage = "finetune"\nmethod = "{name}"\nepochs = 0.2\nprecision = "fp32"\nagreement = 0.5\n' for name in ("probe", "lora")
)


@pytest.fixture(scope="module")
def done(few, tmp_path_factory, text_parent, reviews, runtime):
    """A recipe of two steps that leaves model and data open, run with R-Drop: what it gave, and its folder."""
    folder = tmp_path_factory.mktemp("transfer")
    (folder / "ways.toml").write_text(RECIPE, "utf-8")
    changes = {"model": str(text_parent), "data": str(reviews)}
    return penjing.run(str(folder / "ways.toml"), out=folder, changes=changes, runtime=runtime), folder / "ways"


def test_a_merged_model_is_an_ordinary_directory_of_the_parents_architecture(done, text_parent):
    _, folder = done
    parent, merged = load_file(text_parent / "model.safetensors"), load_file(folder / "lora" / "model.safetensors")
    assert {name: value.shape for name, value in merged.items()} == {name: value.shape for name, value in parent.items()}
    moved = {name for name in parent if not torch.equal(parent[name], merged[name])}
    assert {name.rsplit(".", 1)[-1] for name in moved if ".encoder." in name} == {"weight"} and not any("embeddings" in n for n in moved)
    configs = [json.loads((path / "config.json").read_text("utf-8")) for path in (text_parent, folder / "lora")]
    assert configs[0] == configs[1] and not list((folder / "lora").glob("adapter*"))


def test_a_probe_leaves_the_body_as_it_was_to_the_bit(done, text_parent):
    parent, probed = (load_file(path / "model.safetensors") for path in (text_parent, done[1] / "probe"))
    assert {name for name in parent if not torch.equal(parent[name], probed[name])} == {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip


def test_report_and_card_say_how_much_was_trained_and_how_it_is_stored(done):
    _, folder = done
    learnt = {name: Report.read(folder / name).facts["training"]["learnt"] for name in ("probe", "lora")}
    head = 128 * 128 + 128 + 2 * 128 + 2
    assert learnt["probe"]["parameters"] == head
    assert learnt["lora"]["parameters"] == head + 2 * 8 * (4 * (128 + 128) + 2 * (128 + 512))  # blocks x rank x (ins and outs)
    assert "merged into the weights" in (folder / "lora" / "README.md").read_text("utf-8")
    assert "Beside each other" in (folder / "report.html").read_text("utf-8")


def test_new_weights_are_refused_where_a_method_builds_on_old_ones(reviews, tmp_path, runtime):
    for method in ("probe", "lora"):
        with pytest.raises(OptionError, match=f"--method {method} builds on what a model has learnt, and new:bert-tiny") as caught:
            penjing.finetune("new:bert-tiny", reviews, task="text-classification", method=method, out=tmp_path / "x", runtime=runtime)
        assert caught.value.wanted == "'full' or 'scratch'"


def test_low_rank_updates_are_refused_where_no_block_has_a_linear_layer(image_parent, tmp_path, runtime):
    with pytest.raises(ModelError, match="lora does not fit a model of type penjing_resnet") as caught:
        penjing.finetune(image_parent, "sklearn:digits", method="lora", out=tmp_path / "x", runtime=runtime, **QUICK)
    assert "'probe'" in caught.value.wanted and not (tmp_path / "x").exists()


def test_the_bundled_comparison_has_four_ways_and_asks_for_model_and_data(text_parent, reviews, runtime, tmp_path):
    with pytest.raises(OptionError, match=r"\[scratch\]: model and data are not given") as caught:
        penjing.run("transfer", out=tmp_path, runtime=runtime)
    assert caught.value.fix == "penjing run transfer --set model=MODEL --set data=DATA"
    with pytest.raises(OptionError, match=r"\[scratch\]: data is not given") as caught:
        penjing.run("transfer", out=tmp_path, changes={"model": str(text_parent)}, runtime=runtime)
    assert caught.value.fix == f"penjing run transfer --set model={text_parent} --set data=DATA"
    with pytest.raises(OptionError, match=r"\[probe\]: --method probe builds on"):
        penjing.run("transfer", out=tmp_path, changes={"model": "new:bert-tiny", "data": str(reviews)}, runtime=runtime)
    path, plan = run.load_recipe("transfer", {"model": str(text_parent), "data": str(reviews)})
    steps = dict(run.steps(plan, path))
    assert [words["method"] for words in steps.values()] == list(steps) == ["scratch", "probe", "lora", "full"]
    assert {words["model"] for words in steps.values()} == {str(text_parent)}
