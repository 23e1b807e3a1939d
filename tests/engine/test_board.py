"""What TensorBoard shows, read back with its own reader."""

import json

import numpy
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from penjing.core import errors
from penjing.core.contracts import Prediction
from penjing.core.errors import MissingExtra
from penjing.core.examples import spread
from penjing.core.training import Training
from penjing.engine.board import ANSWERS, FOLDER, Board
from penjing.engine.train import train
from penjing.engine.watch import FILE, Watch
from tests.contract.test_tasks import rows
from tests.engine.test_train import started


def watched(folder, task_name, runtime, number=0, **options):
    """A training that is watched, from after a step on."""
    state, task = started(task_name, runtime, tensorboard="histograms", **options)
    state.number = number
    examples = rows(task)
    return state, task, Watch(state, folder, True, Board(folder, state, task, examples, quiet=True))


def read(folder):
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0, "histograms": 0, "images": 0})
    return found.Reload()


def points(found, tag):
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_every_step_and_every_measurement_is_a_point(tmp_path, runtime):
    state, task, watch = watched(tmp_path, "text-classification", runtime)
    for step in train(state, task.loss):
        watch.note(step)
        if step.epoch_ends:
            answers = [Prediction("yes", 0.75), Prediction(None), *[Prediction("a | b\nc", 1.0)] * 4]
            watch.measured(step.number / 100, answers)
    (tmp_path / "out").mkdir()
    watch.hand_over(tmp_path / "out")
    lines, found = [json.loads(line) for line in (tmp_path / "out" / FILE).read_text().splitlines()], read(tmp_path / "out" / FOLDER)
    for name in ("loss", "learning_rate", "gradient_norm"):
        assert points(found, f"train/{name}") == [(line["step"], numpy.float32(line[name])) for line in lines]
    rates = [value for _, value in points(found, "speed/rows_per_s")]
    assert rates == pytest.approx([line["rows"] / line["seconds"] for line in lines], rel=1e-5)
    assert all(0 < value < 1 for _, value in points(found, "speed/share_of_peak"))
    assert all(0.05 < value < 100 for _, value in points(found, "memory/GB"))
    assert points(found, "tune/accuracy") == [(n, numpy.float32(n / 100)) for n in (3, 6, 9)]
    table = found.Tensors("answers to tune rows/text_summary")[-1].tensor_proto.string_val[0].decode().splitlines()
    assert table[2] == "| row 1 | word0 | no | yes | 75% |" and table[3] == "| row 2 | word1 word1 | yes | None |  |"
    assert table[4].endswith(" | a \\| b c | 100% |") and len(table) == 2 + 6


def test_histograms_are_those_of_the_weights_and_of_their_gradients(tmp_path, runtime):
    state, task, watch = watched(tmp_path, "text-classification", runtime, precision="bf16")
    watch.note(next(train(state, task.loss)))
    watch.measured(0.5, [Prediction("yes", 1.0)] * 6)
    (tmp_path / "out").mkdir()
    watch.hand_over(tmp_path / "out")
    found = read(tmp_path / "out" / FOLDER)
    for name, weight in state.weights.learnt.items():
        held = found.Histograms(f"weights/{name}")[0].histogram_value
        assert held.num == weight.numel() and held.sum == pytest.approx(weight.sum().item(), abs=1e-3)
    names = {tag.removeprefix("gradients/") for tag in found.Tags()["histograms"] if tag.startswith("gradients/")}
    assert names == {name for name, weight in state.weights.learnt.items() if weight.grad is not None}


def test_a_training_that_goes_on_draws_no_point_twice(tmp_path, runtime):
    """It was killed after step 6 and goes on after step 4, where its last checkpoint is."""
    for begun, ends in ((0, 6), (4, 9)):
        state, task, watch = watched(tmp_path, "text-classification", runtime, number=begun)
        first = next(train(state, task.loss))
        for number in range(begun + 1, ends + 1):
            watch.note(first._replace(number=number, loss=float(begun)))
        watch.settle()
        watch._board.close()
    assert points(read(tmp_path / FOLDER), "train/loss") == [*((n, 0.0) for n in range(1, 5)), *((n, 4.0) for n in range(5, 10))]


def test_rows_that_are_images_are_shown_as_pictures(tmp_path, runtime):
    *_, watch = watched(tmp_path, "image-classification", runtime)
    (tmp_path / "out").mkdir()
    watch.hand_over(tmp_path / "out")
    found = read(tmp_path / "out" / FOLDER)
    names = [f"tune rows/row {row + 1}" for row in spread(6, ANSWERS)]
    assert sorted(found.Tags()["images"]) == names
    picture = found.Images(names[0])[0]
    assert (picture.width, picture.height) == (96, 96) and picture.encoded_image_string.startswith(b"\x89PNG")


def test_without_the_library_it_is_refused_before_anything_is_read(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(errors.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match=r"needs tensorboard[\s\S]*pip install 'penjing\[tensorboard\]'"):
        Training(tensorboard="scalars")
    assert Training().tensorboard is None
