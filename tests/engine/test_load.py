"""What others wrote opens as well: shards, checkpoints of a training with and without their tokenizer."""

import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification

import penjing
from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.engine import load


@pytest.fixture
def checkpoint(tmp_path, text_parent):
    """A checkpoint in the folder of a training, as Trainer of transformers saves one."""
    folder = tmp_path / "run" / "checkpoint-500"
    shutil.copytree(text_parent, folder, ignore=shutil.ignore_patterns("penjing.json", "README.md", "report.*"))
    torch.save({"state": [torch.zeros(1000)]}, folder / "optimizer.pt")
    (folder / "trainer_state.json").write_text("{}")
    return folder


def test_shards_written_by_transformers_answer_as_the_whole_does(tmp_path, text_parent, reviews, runtime):
    model = AutoModelForSequenceClassification.from_pretrained(text_parent)
    shutil.copytree(text_parent, tmp_path / "shards", ignore=shutil.ignore_patterns("model.*", "penjing.json"))
    model.save_pretrained(tmp_path / "shards", max_shard_size="1MB")
    base = ModelDir.open(tmp_path / "shards")
    assert len(base.weight_files()) > 1 and "model.safetensors" not in [path.name for path in base.weight_files()]
    report = penjing.evaluate(base, reviews, rows="tune", runtime=runtime)
    whole = penjing.evaluate(ModelDir.open(text_parent), reviews, rows="tune", runtime=runtime)
    assert report.after["accuracy"] == whole.after["accuracy"] and report.model["sha256"] == base.sha256()


def test_a_checkpoint_answers_with_the_tokenizer_of_the_folder_above(checkpoint, text_parent, runtime):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.move(checkpoint / name, checkpoint.parent / name)
    said, whole = (penjing.predict(folder, "lovely warm room", runtime=runtime) for folder in (checkpoint, text_parent))
    assert said == whole
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (checkpoint.parent / name).unlink()
    base = ModelDir.open(checkpoint)
    with pytest.raises(ModelError, match="checkpoint-500 holds no tokenizer") as caught:
        load.load_processor(base, load.task_for(base))
    assert caught.value.wanted == "tokenizer.json beside the weights" and str(checkpoint) in caught.value.fix


def test_a_model_of_images_without_its_processor_is_refused(tmp_path, image_parent):
    shutil.copytree(image_parent, tmp_path / "model", ignore=shutil.ignore_patterns("*processor*"))
    base = ModelDir.open(tmp_path / "model")
    with pytest.raises(ModelError, match="model holds no image processor") as caught:
        load.load_processor(base, load.task_for(base))
    assert caught.value.wanted == "preprocessor_config.json beside the weights"
