"""The parity gate must refuse a directory that is not the model that was in memory."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.engine import gate
from penjing.engine.batches import Encoded
from penjing.engine.load import load, task_for
from tests.conftest import review


@pytest.fixture
def saved(text_parent, tmp_path, runtime):
    """(a copy of a trained directory, its task, probe batch, logits in memory)."""
    shutil.copytree(text_parent, tmp_path / "copy")
    base = ModelDir.open(tmp_path / "copy")
    task = task_for(base)
    loaded = load(base, task, runtime)
    import random

    draw = random.Random(5)
    batch = Encoded([{"text": review(draw)[0]} for _ in range(4)], task, loaded.processor).batch(range(4))
    with torch.inference_mode():
        return base, task, batch, loaded.model(**batch.inputs).logits


def check(saved):
    base, task, batch, logits = saved
    return gate.check(base, task, batch, {"logits": logits}, 2)


def test_an_honest_directory_passes_and_its_memory_is_measured(saved):
    found = check(saved)
    assert found["difference"] <= 1e-5 and found["memory_bytes"] > 0


def test_a_changed_weight_is_refused(saved):
    path = saved[0].path / "model.safetensors"
    weights = load_file(path)
    weights["classifier.weight"] = weights["classifier.weight"] * 1.01
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="another one: on probe row"):
        check(saved)


def test_a_missing_weight_is_refused(saved):
    path = saved[0].path / "model.safetensors"
    weights = load_file(path)
    del weights["classifier.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"finds no weights for classifier\.weight"):
        check(saved)


def test_a_config_that_does_not_fit_the_weights_is_refused(saved):
    path = saved[0].path / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "intermediate_size": config["intermediate_size"] // 2}))
    with pytest.raises(ModelError, match="cannot load what was written"):
        check(saved)


def test_a_truncated_file_is_refused(saved):
    path = saved[0].path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot load what was written"):
        check(saved)


def test_a_process_that_died_is_replaced_by_the_next_question(saved):
    gate._process().kill()
    with pytest.raises(ModelError, match="ended early"):
        check(saved)
    assert check(saved)["difference"] <= 1e-5
