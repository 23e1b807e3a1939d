"""A directory of an own family is complete: plain transformers loads it, and only when trusted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from penjing.engine.create import config_of
from penjing.families import cnn, resnet

FACTS = {"labels": ["a", "b", "c"], "image_size": (9, 8), "channels": 1}
IMAGES = torch.linspace(-1, 1, 3 * 9 * 8).view(3, 1, 9, 8)
STRANGER = """
import json, sys, torch, transformers
found = {}
for path in sys.argv[1:]:
    with open(path + "/config.json") as file:
        name = next(name for name in json.load(file)["auto_map"] if name.startswith("AutoModel"))
    Auto = getattr(transformers, name)
    try:
        Auto.from_pretrained(path, trust_remote_code=False)
        refusal = ""
    except ValueError as error:
        refusal = str(error)
    model, info = Auto.from_pretrained(path, trust_remote_code=True, output_loading_info=True)
    shape = (3, 9, 8) if "Audio" in name else (3, 1, 9, 8)
    images = torch.linspace(-1, 1, 3 * 9 * 8).view(shape)
    found[path] = {"refusal": refusal, "logits": model.eval()(images).logits.tolist(), "labels": model.config.id2label,
                   "missing": sorted(info["missing_keys"]), "unexpected": sorted(info["unexpected_keys"])}
found["penjing"] = any(name.split(".")[0] == "penjing" for name in sys.modules)
print(json.dumps(found))
"""


def trained(model_class, size):
    """One pass in training mode, so that the batch norms hold statistics of their own."""
    torch.manual_seed(0)
    model = model_class(config_of(size, FACTS)).train()
    model(seen_by(model))
    return model.eval()


def seen_by(model):
    """The images, or the same numbers as log-mels."""
    return IMAGES if model.main_input_name == "pixel_values" else IMAGES[:, 0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    models = {
        folder / "resnet": trained(resnet.ResNetForImageClassification, "resnet-tiny"),
        folder / "cnn": trained(cnn.CNNForImageClassification, "cnn-tiny"),
        folder / "sound" / "resnet": trained(resnet.ResNetForAudioClassification, "resnet-tiny"),
        folder / "sound" / "cnn": trained(cnn.CNNForAudioClassification, "cnn-tiny"),
    }
    for path, model in models.items():
        model.save_pretrained(path)
    return models


@pytest.fixture(scope="module")
def stranger(saved, tmp_path_factory):
    """What a process that has transformers but never heard of penjing finds; cold, so about ten seconds."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    env |= {"HF_MODULES_CACHE": str(tmp_path_factory.mktemp("modules")), "HF_HUB_OFFLINE": "1"}
    away, command = tmp_path_factory.mktemp("away"), [sys.executable, "-c", STRANGER, *map(str, saved)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=away)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_stranger_who_trusts_the_directory_gets_equal_logits(saved, stranger):
    assert not stranger["penjing"]
    for path, model in saved.items():
        found = stranger[str(path)]
        assert found["missing"] == found["unexpected"] == []
        assert list(found["labels"].values()) == FACTS["labels"]
        assert (torch.tensor(found["logits"]) - model(seen_by(model)).logits).abs().max() == 0


def test_a_stranger_without_trust_is_refused_rather_than_given_fresh_weights(saved, stranger):
    for path in saved:
        assert "trust_remote_code=True" in stranger[str(path)]["refusal"]


def test_the_code_beside_the_weights_is_the_family_file_byte_for_byte(saved):
    for path in saved:
        family = {"resnet": resnet, "cnn": cnn}[path.name]
        assert (path / f"{path.name}.py").read_bytes() == Path(family.__file__).read_bytes()


def test_only_safetensors_are_written(saved):
    for path in saved:
        assert sorted(p.name for p in path.iterdir()) == sorted(["config.json", "model.safetensors", f"{path.name}.py"])
