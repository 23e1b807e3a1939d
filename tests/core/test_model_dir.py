"""A directory is opened only when it is what it says, and written whole or not at all."""

import json
import os
import shutil

import pytest

from penjing.core.errors import ModelError, OptionError
from penjing.core.model_dir import ModelDir, check_free, staged


@pytest.fixture
def model(tmp_path):
    """A directory with the outside of a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["BertForSequenceClassification"], "id2label": {"1": "good", "0": "bad"}}')
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def fill(folder, content):
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(content)


def test_a_directory_that_penjing_did_not_write_tells_task_and_labels_by_its_config(model):
    base = ModelDir.open(model)
    assert (base.task, base.labels, base.engine, base.lineage) == ("text-classification", ["bad", "good"], "torch", [])


def test_recorded_weights_are_checked_and_other_facts_stay(model):
    base = ModelDir.open(model).record(task="text-classification", mine=1).record(engine="torch")
    assert ModelDir.open(model).meta["mine"] == 1 and base.sha256() == base.meta["weights"]["sha256"]
    (model / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match=r"not those that penjing\.json records"):
        ModelDir.open(model)


def test_a_renamed_weight_file_is_another_model(model):
    before = ModelDir.open(model).sha256()
    (model / "model.safetensors").rename(model / "other.safetensors")
    assert ModelDir.open(model).sha256() != before


def test_another_tokenizer_makes_another_whole_of_the_same_weights_and_another_card_does_not(model):
    base = ModelDir.open(model)
    weights, whole = base.sha256(), base.whole_sha256()
    (model / "README.md").write_text("another card")
    assert base.whole_sha256() == whole
    (model / "tokenizer.json").write_text('{"another": 1}')
    assert base.whole_sha256() != whole and base.sha256() == weights


def test_size_counts_what_the_engine_opens_and_not_the_card(model):
    size = ModelDir.open(model).bytes()
    (model / "README.md").write_text("x" * 1000)
    (model / "report.json").write_text("{}")
    assert ModelDir.open(model).bytes() == size == sum(len((model / name).read_bytes()) for name in ("config.json", "model.safetensors"))


def checkpoint(folder):
    """What Trainer of transformers leaves in the folder of a checkpoint."""
    folder.mkdir(parents=True)
    fill(folder, b"weights")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"):
        (folder / name).write_text("{}")
    return folder


def test_the_state_of_a_trainer_is_not_part_of_the_model(tmp_path):
    base = ModelDir.open(checkpoint(tmp_path / "run" / "checkpoint-500"))
    assert base.bytes() == len(b"weights") + len("{}")
    assert [path.name for path in base.weight_files()] == ["model.safetensors"]


def test_a_checkpoint_without_a_tokenizer_takes_that_of_the_folder_above(tmp_path):
    base = ModelDir.open(checkpoint(tmp_path / "run" / "checkpoint-500"))
    assert not base.holds_processor and base.processor_path == base.path
    (tmp_path / "run" / "tokenizer.json").write_text("{}")
    assert base.holds_processor and base.processor_path == tmp_path / "run"
    assert base.bytes() == len(b"weights") + 2 * len("{}")
    (base.path / "tokenizer.json").write_text("{}")
    assert base.processor_path == base.path
    other = ModelDir.open(checkpoint(tmp_path / "run" / "model"))
    assert not other.holds_processor  # no checkpoint: what lies above has nothing to do with it


def test_a_folder_of_checkpoints_names_the_best_and_the_last(tmp_path):
    run = tmp_path / "run"
    for step in (500, 1000, 1500):
        checkpoint(run / f"checkpoint-{step}")
    with pytest.raises(ModelError, match="run holds checkpoints") as caught:
        ModelDir.open(run)
    assert caught.value.wanted == "one of them: checkpoint-500, checkpoint-1000, checkpoint-1500"
    assert caught.value.fix == f"name {run / 'checkpoint-1500'}, the last"
    (run / "checkpoint-1500" / "trainer_state.json").write_text('{"best_model_checkpoint": "elsewhere/run/checkpoint-500"}')
    with pytest.raises(ModelError, match="run holds checkpoints") as caught:
        ModelDir.open(run)
    assert caught.value.fix == f"name {run / 'checkpoint-500'}, which did best by its trainer_state.json"


@pytest.fixture
def sharded(model):
    """The same with its weights in two shards and an index."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (model / "model.safetensors").rename(model / names[0])
    (model / names[1]).write_bytes(b"more")
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": names[0], "b": names[1], "c": names[0]}}))
    return model


def test_shards_are_opened_counted_and_hashed_together(sharded):
    base = ModelDir.open(sharded).record()
    (sharded / "consolidated.safetensors").write_bytes(b"the same once more, which nothing opens")
    assert ModelDir.open(sharded).sha256() == base.sha256()
    sizes = [(sharded / name).stat().st_size for name in ("config.json", "model.safetensors.index.json")]
    assert base.bytes() == sum(sizes) + len(b"weights") + len(b"more")
    (sharded / "model-00002-of-00002.safetensors").write_bytes(b"less")
    with pytest.raises(ModelError, match="the weights are not those"):
        ModelDir.open(sharded)


def test_a_missing_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is missing, 1 of the 2 files") as caught:
        ModelDir.open(sharded)
    assert "model-00001-of-00002.safetensors" in caught.value.wanted and "copy" in caught.value.fix


@pytest.mark.parametrize("index", ["[]", "{}", '{"weight_map": {"a": "../other/model.safetensors"}}', '{"weight_map": {"a": 1}}', "{"])
def test_an_index_that_names_no_files_beside_it_is_refused(sharded, index):
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelError, match=r"model\.safetensors\.index\.json is damaged"):
        ModelDir.open(sharded)


def test_an_opened_model_is_taken_wherever_its_path_is(model):
    base = ModelDir.open(model)
    assert os.fspath(base) == str(base) == str(model) and ModelDir.open(base) is base


def test_an_output_appears_at_one_stroke(tmp_path):
    with staged(tmp_path / "deep" / "out", overwrite=False) as folder:
        fill(folder, b"new")
        assert not (tmp_path / "deep" / "out").exists()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ModelError])
def test_a_body_that_fails_leaves_the_old_output_and_nothing_else(model, error):
    with pytest.raises(error), staged(model, overwrite=True) as folder:
        fill(folder, b"new")
        raise error("x")
    assert [path.name for path in model.parent.iterdir()] == ["model"]
    assert (model / "model.safetensors").read_bytes() == b"weights"


def test_an_old_output_is_replaced_when_the_new_one_is_complete(model):
    with staged(model, overwrite=True) as folder:
        fill(folder, b"new")
        assert (model / "model.safetensors").read_bytes() == b"weights"
    assert (model / "model.safetensors").read_bytes() == b"new"
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_what_a_killed_process_left_is_cleared(model):
    partial = model.parent / ".model.partial"
    (partial / "deep").mkdir(parents=True)
    (partial / "half").write_text("x")
    with staged(model, overwrite=True) as folder:
        assert list(folder.iterdir()) == []
        fill(folder, b"new")
    assert [path.name for path in model.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, ModelError])
def test_checkpoints_outlast_a_body_that_fails_where_they_were_and_nothing_else_does(tmp_path, error):
    kept = {".begun.json", ".checkpoints/step-1.pt", ".work/half/.checkpoints/step-2.pt"}
    with pytest.raises(error), staged(tmp_path / "out", overwrite=False) as folder:
        for name in (*kept, "config.json", ".work/half/model.safetensors", ".work/other/.checkpoints/step-3.tmp", ".work/none/x"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("x")
        raise error("x")
    with staged(tmp_path / "out", overwrite=False) as folder:
        assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == kept
        shutil.rmtree(folder / ".work")
        fill(folder, b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".")]


def test_what_a_link_leads_to_is_not_cleared(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(ValueError), staged(tmp_path / "out", overwrite=False) as folder:
        (folder / "link").symlink_to(tmp_path / "mine")
        raise ValueError
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_an_output_taken_aside_by_a_process_that_was_killed_then_is_put_back(model):
    model.rename(model.parent / ".model.old")
    with pytest.raises(OptionError, match="model exists"):
        check_free(model, overwrite=False)
    assert (model / "model.safetensors").read_bytes() == b"weights"
    assert [path.name for path in model.parent.iterdir()] == ["model"]


def test_of_two_that_write_the_same_output_the_second_is_refused(tmp_path):
    out = tmp_path / "out"
    with staged(out, overwrite=False) as first:
        fill(first, b"first")
        with pytest.raises(OptionError, match="being written by another process"), staged(out, overwrite=False):
            pass
        assert (first / "model.safetensors").exists()
    assert (out / "model.safetensors").read_bytes() == b"first"


def test_an_empty_folder_may_be_filled_and_a_strange_one_never(tmp_path):
    (tmp_path / "out").mkdir()
    check_free(tmp_path / "out", overwrite=False)
    (tmp_path / "out" / "thesis.txt").write_text("x")
    with pytest.raises(OptionError, match="is not a model directory, so it is not replaced"):
        check_free(tmp_path / "out", overwrite=True)


def test_unknown_fields_of_penjing_json_survive(model):
    (model / "penjing.json").write_text(json.dumps({"schema": 1, "later": {"x": [1]}}))
    ModelDir.open(model).record(task="text-classification")
    assert json.loads((model / "penjing.json").read_text())["later"] == {"x": [1]}
