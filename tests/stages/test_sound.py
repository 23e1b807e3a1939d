"""Sounds go the whole way: a new network learns them, teaches, loses channels, becomes int8, and answers from the command line."""

import io
import json

import numpy
import PIL.Image
import pytest
import soundfile

import penjing
from penjing import cli
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report

RATE = 8000
TRAINING = {"epochs": 3, "learning_rate": 1e-2, "batch_rows": 16}


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Low and high tones of a tenth of a second in noise, in a folder a class; no two alike."""
    folder, draw = tmp_path_factory.mktemp("tones"), numpy.random.default_rng(0)
    for label, low in (("low", 300), ("high", 1500)):
        (folder / label).mkdir()
        for i in range(80):
            phase = 2 * numpy.pi * (low + draw.uniform(0, 300)) * numpy.arange(800) / RATE
            soundfile.write(folder / label / f"{i}.wav", 0.3 * numpy.sin(phase) + 0.1 * draw.standard_normal(800), RATE)
    return folder


@pytest.fixture(scope="module")
def parent(few, tones, tmp_path_factory, runtime):
    out = tmp_path_factory.mktemp("sound") / "parent"
    return penjing.finetune("new:cnn-tiny", tones, task="audio-classification", out=out, runtime=runtime, **TRAINING)


def test_a_new_network_learns_tones_and_says_how_it_hears_them(parent):
    model, report = parent
    assert report.after["accuracy"].value == 1.0
    hears = json.loads((model.path / "preprocessor_config.json").read_text())
    assert (hears["sampling_rate"], hears["max_length"], hears["feature_extractor_type"]) == (RATE, 3, "ASTFeatureExtractor")


def test_it_can_be_taught_pruned_and_quantized(parent, tones, tmp_path, runtime):
    model, _ = parent
    _, taught = penjing.distill(model.path, tones, student="new:cnn-tiny", out=tmp_path / "taught", runtime=runtime, **TRAINING)
    _, pruned = penjing.prune(model.path, tones, method="channels", out=tmp_path / "pruned", runtime=runtime, **TRAINING)
    _, quantized = penjing.quantize(model.path, tones, out=tmp_path / "quantized", runtime=runtime)
    assert all(report.after["accuracy"].value > 0.9 for report in (taught, pruned, quantized))
    assert pruned.after["bytes"].value < pruned.before["bytes"].value > quantized.after["bytes"].value
    assert ModelDir.open(tmp_path / "quantized").engine == "onnxruntime"


def test_the_page_shows_the_rows_on_which_two_models_differ_as_pictures(parent, tones, tmp_path, runtime):
    _, blind = penjing.prune(parent[0].path, tones, method="channels", keep_share=0.1, out=tmp_path / "x", runtime=runtime, epochs=0)
    assert blind.facts["differ"]
    assert "data:image/png;base64," in (tmp_path / "x" / "report.html").read_text()
    assert Report.read(tmp_path / "x") is not None


def test_a_sound_file_and_a_folder_of_them_are_asked_from_the_command_line(parent, tones, tmp_path, capsys):
    model, (high, low) = parent[0].path, (next((tones / label).iterdir()) for label in ("high", "low"))
    flac = tmp_path / "low.flac"
    soundfile.write(flac, *soundfile.read(low))
    assert cli.main(["predict", str(model), str(high), str(flac)]) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == ["high", "low"]
    assert cli.main(["predict", str(model), str(tones), "--quiet"]) == 0
    assert capsys.readouterr().out.count("\n") == 160


def test_what_is_no_sound_for_such_a_model_is_refused(parent, tmp_path, capsys):
    file = io.BytesIO()
    PIL.Image.new("L", (2, 2)).save(file, "png")
    (tmp_path / "picture.png").write_bytes(file.getvalue())
    (tmp_path / "broken.wav").write_bytes(b"RIFF of nothing")
    for given, words in {
        str(tmp_path / "picture.png"): "picture.png is an image, and this model reads sound",
        str(tmp_path / "broken.wav"): "broken.wav: damaged sound",
        "ring.wav": "no file 'ring.wav', and this model reads sounds",
    }.items():
        assert cli.main(["predict", str(parent[0].path), given]) == 2
        said = capsys.readouterr().err
        assert words in said and "  wanted  " in said and "  next    " in said and "Traceback" not in said
