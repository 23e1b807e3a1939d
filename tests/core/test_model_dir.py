"""A directory is opened only when it is what it says, and written whole or not at all."""

import json

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


def test_size_counts_what_the_engine_opens_and_not_the_card(model):
    size = ModelDir.open(model).bytes()
    (model / "README.md").write_text("x" * 1000)
    (model / "report.json").write_text("{}")
    assert ModelDir.open(model).bytes() == size == sum(len((model / name).read_bytes()) for name in ("config.json", "model.safetensors"))


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
