"""quantize of a model that first learns to be rounded."""

import json
import signal
import time

import pytest
import torch

import penjing
from penjing.core.errors import OptionError, TaskError
from penjing.core.find import find, names
from penjing.core.model_dir import ModelDir
from penjing.engine import load
from penjing.engine.backends import open_backend
from penjing.engine.batches import Encoded
from penjing.stages import _checks, _dry_run, _frame
from tests.conftest import write_reviews
from tests.warm import Warm

COARSE = {"method": "rtn", "bits": 4, "group": 2**20}


def answers(path, rows, runtime):
    """(N, C) log-probabilities of the first rows of a file."""
    base = ModelDir.open(path)
    task = load.task_for(base)
    texts = [{"text": line.split(",")[0]} for line in rows.read_text("utf-8").splitlines()[1:101]]
    batch = Encoded(texts, task, load.load_processor(base, task), labelled=False).batch(range(len(texts)))
    return torch.as_tensor(open_backend(base, task, runtime)(**batch.inputs).logits).float().log_softmax(-1)


@pytest.fixture(scope="module")
def rough(tmp_path_factory, text_parent, runtime):
    """The small BERT with a few channels of its attention so large that beside them four bits and one scale an output hold little.

    What its values are divided by their readers are multiplied by, so that it answers as before.
    """
    base = ModelDir.open(text_parent)
    loaded = load.load(base, load.task_for(base), runtime)
    for block in loaded.model.bert.encoder.layer:
        for values in block.attention.self.value.parameters():
            values.data[:8] /= 40
        block.attention.output.dense.weight.data[:, :8] *= 40
    return load.save(loaded, tmp_path_factory.mktemp("rough")).path


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_after_learning_coarse_weights_answer_more_like_the_parent(precision, rough, reviews, runtime, tmp_path):
    pytest.importorskip("compressed_tensors")
    plain, before = penjing.quantize(rough, reviews, out=tmp_path / "plain", runtime=runtime, **COARSE)
    words = {**COARSE, "epochs": 1, "learning_rate": 1e-4, "precision": precision}
    learnt, report = penjing.quantize(rough, reviews, out=tmp_path / "learnt", runtime=runtime, **words)
    fresh = write_reviews(tmp_path / "fresh.csv", 100, seed=9)
    true, rounded, taught = (answers(path, fresh, runtime) for path in (rough, plain.path, learnt.path))
    apart = [torch.nn.functional.kl_div(each, true, log_target=True, reduction="batchmean").item() for each in (rounded, taught)]
    assert apart[1] < 0.5 * apart[0]
    typical = [each.facts["parity"]["parent"]["typical"] for each in (before, report)]
    assert typical[1] < typical[0] and "training" not in before.facts
    training = report.facts["training"]
    assert training["precision"] == precision and training["curve"][-1]["epoch"] == 1 and report.after["bytes"] == before.after["bytes"]
    assert training["curve"][-1]["tune"] == pytest.approx(report.after["accuracy"].value, abs=0.01)
    written = (learnt.path / "README.md").read_text("utf-8")
    assert "parameters were trained, in" in written and learnt.lineage[-1]["options"]["epochs"] == 1


def test_an_artefact_of_another_engine_holds_what_was_learnt_and_a_network_of_convolutions_learns_too(image_parent, runtime, tmp_path):
    plain, _ = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "plain", runtime=runtime)
    words = {"epochs": 0.5, "learning_rate": 1e-3}
    learnt, report = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "learnt", runtime=runtime, **words)
    assert learnt.engine == "onnxruntime" and learnt.sha256() != plain.sha256() and report.facts["quantized"]["scheme"] == "static"
    assert report.after["accuracy"].value >= report.before["accuracy"].value - 0.02
    assert report.facts["training"]["curve"][-1]["tune"] == pytest.approx(report.after["accuracy"].value, abs=0.02)


@pytest.mark.parametrize("method", [name for name in names("methods.quantize") if "NOT_LEARNT" in vars(find("methods.quantize", name))])
def test_methods_with_which_nothing_learns_refuse_epochs(method):
    with pytest.raises(OptionError, match=rf"(?s)--epochs does nothing here: --method {method} (rounds so little|chooses on rows)"):
        _frame.stage_options("quantize", {"method": method, "epochs": 1})
    assert not {"epochs", "recovery"} & {flag.name for flag in _frame.stage_flags("quantize", method)}


def test_a_task_whose_models_learn_nothing_step_by_step_refuses_epochs():
    topics = find("tasks", "topic-modeling").TASK
    _checks._require_learnt("quantize", _frame.stage_options("quantize", {}), topics)
    with pytest.raises(TaskError, match=r"(?s)learn nothing step by step.*leave --epochs out"):
        _checks._require_learnt("quantize", _frame.stage_options("quantize", {"epochs": 1}), topics)


def test_a_dry_run_tells_of_the_training_where_there_is_one(rough, reviews, runtime):
    found = _dry_run.plan("quantize", str(rough), str(reviews), None, runtime, {"epochs": 1}, False)
    assert found["training"]["steps"] > 1 and "training" not in _dry_run.plan(
        "quantize", str(rough), str(reviews), None, runtime, {}, False
    )


def test_a_killed_learning_goes_on_to_the_same_bits(cache, rough, tmp_path):
    pytest.importorskip("compressed_tensors")
    reviews = write_reviews(tmp_path / "reviews.csv", 200)
    how = ["--method=rtn", "--group=1048576", "--epochs=3", "--batch-rows=8", "--threads=1", "--precision=bf16"]
    words = ["quantize", rough, reviews, *how]
    said, checkpoints = tmp_path / "said", tmp_path / ".parts.partial" / ".checkpoints"
    with Warm() as warm:
        warm.begin(*words, f"--out={tmp_path / 'whole'}", "--checkpoint-every=0", told=said)
        assert warm.ended() == 0, said.read_text()
        often = [*words, f"--out={tmp_path / 'parts'}", "--checkpoint-every=0.03s"]
        warm.begin(*often, told=said)
        end = time.monotonic() + 60
        while not list(checkpoints.glob("step-*.pt")):
            assert time.monotonic() < end, said.read_text()
            time.sleep(0.002)
        warm.send(signal.SIGKILL)
        assert warm.ended() == -signal.SIGKILL
        warm.begin(*often, told=said)
        assert warm.ended() == 0 and "going on after step" in said.read_text()
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts and "quantization_config" in json.loads((tmp_path / "parts" / "config.json").read_text())
