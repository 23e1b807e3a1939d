"""Augmented rows in the loop: encoded anew in every epoch, in the same batches, and the same after a stop."""

import copy
import sys

import numpy
import PIL.Image
import pytest
import torch

from penjing.core.errors import DataError
from penjing.core.find import find
from penjing.core.image import Image, png
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import batches, create
from penjing.engine.augment import augmented
from penjing.engine.batches import Encoded, Order
from penjing.engine.train import State, train
from penjing.methods.finetune import whole
from tests.contract.test_tasks import LABELS, SMALLEST, rows

CHANGES = {
    "text-classification": ["word-noise", "typos"],
    "image-classification": ["crop", "flip", "colour", "mixup"],
    "audio-classification": ["masks", "time-shift", "white-noise"],
}


def started(task_name, changes, strengths=(1.0,), repeats=1, num_rows=24):
    kind = find("tasks", task_name).TASK
    examples, runtime = rows(kind, num_rows), Runtime(threads=1, quiet=True, seed=3)
    loaded = create.create(SMALLEST[kind.media], kind(LABELS), examples, runtime)
    options = Training(epochs=3, learning_rate=1e-3, batch_rows=8, precision="fp32", augment=changes, augment_strength=1.0)
    encoded = Encoded(examples, loaded.task, loaded.processor, views=augmented(loaded.task, options, runtime.seed, strengths))
    return State(whole(loaded.model), encoded, options, runtime, repeats), loaded.task


@pytest.mark.parametrize(("task_name", "changes"), CHANGES.items(), ids=CHANGES)
def test_a_run_that_stops_within_an_epoch_goes_on_to_the_same_weights(task_name, changes):
    full, task = started(task_name, changes)
    losses = [step.loss for step in train(full, task.loss)]
    first, _ = started(task_name, changes)
    for step in train(first, task.loss):
        if step.number == 4:
            saved = copy.deepcopy(first.to_dict())
            break
    assert first.place.step > 0, "within the epoch"
    second, _ = started(task_name, changes)
    torch.manual_seed(999)
    second.from_dict(saved)
    assert [step.loss for step in train(second, task.loss)] == losses[4:]
    for name, value in full.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name]), name


@pytest.mark.parametrize(("task_name", "changes"), CHANGES.items(), ids=CHANGES)
def test_epochs_see_their_rows_otherwise_in_batches_planned_without_looking(task_name, changes):
    state, _ = started(task_name, changes)
    plain, _ = started(task_name, None)
    chosen = Order(state.encoded, 8, 4096, 3).batches(1, 0)
    assert chosen == Order(plain.encoded, 8, 4096, 3).batches(1, 0)
    seen = [state.encoded.batch(chosen[0], epoch) for epoch in (0, 0, 1, None)]
    values = [next(iter(batch.inputs.values())) for batch in seen]
    assert torch.equal(values[0], values[1])
    assert all(values[0].shape != other.shape or not torch.equal(values[0], other) for other in values[2:])
    assert torch.equal(values[3], next(iter(plain.encoded.batch(chosen[0], 0).inputs.values())))
    assert all(torch.equal(batch.targets["label"], seen[0].targets["label"]) for batch in seen)


def test_nothing_of_an_epoch_is_kept_for_another():
    state, _ = started("image-classification", ["crop"])
    assert not state.encoded._kept


def test_several_strengths_give_as_many_copies_of_a_batch_and_r_drop_sees_one_view_twice():
    both, _ = started("image-classification", ["crop"], strengths=(0.0, 1.0))
    plain, _ = started("image-classification", None)
    batch, alone = both.encoded.batch([4, 1], 0), plain.encoded.batch([4, 1], 0)
    pixels = batch.inputs["pixel_values"]
    assert batch.rows.tolist() == [4, 1, 4, 1] and torch.equal(pixels[:2], alone.inputs["pixel_values"])
    assert not torch.equal(pixels[2:], pixels[:2])
    twice, _ = started("image-classification", ["crop"], repeats=2)
    pixels = twice.share([4, 1], 0).parts[0].inputs["pixel_values"]
    assert torch.equal(pixels[:2], pixels[2:])


def test_columns_that_are_not_of_the_kind_stay():
    """A task of two texts and a number would have both texts changed, and the number left."""
    task = type("Task", (), {"input_columns": lambda self: {"one": str, "two": str, "number": float}, "fixed": (), "draws": False})()
    (view,) = augmented(task, Training(augment=["word-noise"], augment_strength=1.0), 0)
    row = {"one": "a b c d e f g h", "two": "i j k l m n o p", "number": 3.5, "label": "x"}
    seen = [view([row], 0, epoch) for epoch in range(20)]
    assert any(each["one"] != row["one"] for each in seen) and any(each["two"] != row["two"] for each in seen)
    assert all(each["number"] == 3.5 and each["label"] == "x" for each in seen)
    assert numpy.array_equal(sorted(seen[0]), sorted(row))


def with_threads(monkeypatch):
    """However fast a row is read, and whether they help or not."""
    for name, value in {"SLOW_S": 0.0, "FASTER": 1e9, "cores": lambda: 3}.items():
        monkeypatch.setattr(batches, name, value)


@pytest.mark.parametrize("task_name", ["image-classification", "audio-classification"])
def test_threads_for_slow_rows_change_nothing(task_name, monkeypatch):
    monkeypatch.setattr(batches, "cores", lambda: 1)
    plain, _ = started(task_name, CHANGES[task_name], strengths=(0.5, 1.0))
    with_threads(monkeypatch)
    monkeypatch.setattr(batches, "AT_ONCE", 4)
    threaded, _ = started(task_name, CHANGES[task_name], strengths=(0.5, 1.0))
    assert threaded.encoded._threads and not plain.encoded._threads
    assert (threaded.encoded.lengths == plain.encoded.lengths).all()
    for chosen, epoch in (([9, 3, 17, 2, 5, 11, 0], 0), ([9, 3], 1), ([9, 3], None)):
        found, wanted = (state.encoded.batch(chosen, epoch) for state in (threaded, plain))
        assert found.rows.tolist() == wanted.rows.tolist()
        assert all(torch.equal(found.inputs[name], value) for name, value in wanted.inputs.items())


def test_a_damaged_row_is_the_same_error_in_a_thread(monkeypatch):
    with_threads(monkeypatch)
    kind = find("tasks", "image-classification").TASK
    examples = [*rows(kind, 20), {"image": Image(b"\x89PNG damaged", "photos.csv, row 22"), "label": "no"}]
    processor = create.create("cnn-tiny", kind(LABELS), examples[:20], Runtime(quiet=True)).processor
    with pytest.raises(DataError, match=r"photos\.csv, row 22: damaged image"):
        Encoded(examples, kind(LABELS), processor)


def test_rows_are_decoded_once_while_there_is_room(monkeypatch):
    asked = []

    class Counted(Image):
        def image(self):
            asked.append(self.place)
            return super().image()

    pictures = [Counted(png(PIL.Image.new("RGB", (10, 10))), f"image {i}") for i in range(5)]
    examples = [{"image": picture, "label": "no"} for picture in pictures]
    monkeypatch.setattr(batches, "CACHE_BYTES", 3 * (300 + sys.getsizeof("no")))
    decoded = batches.Decoded(examples)
    for _ in range(3):
        assert [(row["image"].pixels().shape, row["image"].place) for row in map(decoded.__getitem__, range(5))] == [
            ((10, 10, 3), f"image {i}") for i in range(5)
        ]
    assert [asked.count(f"image {i}") for i in range(5)] == [1, 1, 1, 3, 3]
