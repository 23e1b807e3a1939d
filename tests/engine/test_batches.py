"""Batches: every row once, like lengths together, no batch over its budget, the same draws for the same seed and epoch."""

import copy
import json
import random

import numpy
import pytest
import torch

from penjing.core.collate import pad
from penjing.core.examples import read
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import batches, create
from penjing.engine.batches import Encoded, Order
from penjing.engine.train import State, train
from penjing.methods.finetune import whole
from tests.conftest import review
from tests.contract.test_tasks import LABELS, rows

LENGTHS = numpy.array([random.Random(0).randrange(1, 200) for _ in range(5000)])


def of_lengths(lengths):
    """Rows of which nothing is known but their lengths."""

    class Rows:
        known = True

        def __init__(self):
            self.lengths = numpy.array(lengths)

        def __len__(self):
            return len(self.lengths)

        def read(self, chosen):
            return self.lengths[chosen]

    return Rows()


def epoch_of(lengths, batch_rows=32, batch_tokens=2048, seed=0, epoch=0):
    """Every batch of an epoch."""
    order = Order(of_lengths(lengths), batch_rows, batch_tokens, seed)
    return [batch for pool in range(order.num_pools) for batch in order.batches(epoch, pool)]


@pytest.mark.parametrize("order", [epoch_of(LENGTHS), list(batches.measuring_batches(of_lengths(LENGTHS), 32, 2048))])
def test_every_row_comes_once_and_no_batch_is_over_its_budget(order):
    assert sorted(row for batch in order for row in batch) == list(range(len(LENGTHS)))
    for batch in order:
        assert len(batch) <= 32 and max(LENGTHS[batch]) * len(batch) <= 2048


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own():
    assert [1] in epoch_of([10, 500, 10], 32, 100)


def test_no_rows_have_no_batches():
    assert epoch_of([]) == list(batches.measuring_batches(of_lengths([]), 32, 100)) == []


def test_little_is_padded():
    order = epoch_of(LENGTHS, batch_tokens=4096)
    assert sum(max(LENGTHS[batch]) * len(batch) for batch in order) / sum(LENGTHS) < 1.1


def test_the_order_is_a_function_of_seed_and_epoch():
    first = epoch_of(LENGTHS, seed=3, epoch=1)
    assert first == epoch_of(LENGTHS, seed=3, epoch=1)
    assert first != epoch_of(LENGTHS, seed=3, epoch=2) != epoch_of(LENGTHS, seed=4, epoch=1)


def test_short_texts_do_not_come_first():
    """No order bias: the mean length of a batch is unrelated to when it comes."""
    mean = [LENGTHS[batch].mean() for batch in epoch_of(LENGTHS, batch_tokens=10**6)]
    half = len(mean) // 2
    assert abs(numpy.mean(mean[:half]) - numpy.mean(mean[half:])) < 25


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """3,000 reviews of widely differing lengths, a model for them, and the rows as penjing reads them."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("many") / "reviews.jsonl"
    lines = [review(draw) for _ in range(3000)]
    path.write_text("".join(json.dumps({"text": " ".join([t] * draw.choice((1, 2, 4, 9))), "label": label}) + "\n" for t, label in lines))
    kind = find("tasks", "text-classification").TASK
    examples = read(path).require(kind.columns)
    return examples, create.create("bert-tiny", kind(["bad", "good"]), examples.take(range(200)), Runtime())


@pytest.fixture
def few_read_first(monkeypatch):
    monkeypatch.setattr(batches, "MOST_READ_FIRST", 100)
    monkeypatch.setattr(batches, "SAMPLE_ROWS", 300)


def test_lengths_of_many_rows_are_estimated_without_encoding_them(table, few_read_first, monkeypatch):
    examples, loaded = table
    true = numpy.array([len(loaded.processor(example["text"])["input_ids"]) for example in examples])
    calls, encode = [], loaded.task.encode
    monkeypatch.setattr(loaded.task, "encode", lambda *given: calls.append(1) or encode(*given))
    encoded = Encoded(examples, loaded.task, loaded.processor)
    assert len(calls) == 300 and not encoded.known
    assert encoded.lengths.sum() == pytest.approx(true.sum(), rel=0.03)
    assert numpy.corrcoef(encoded.lengths, true)[0, 1] > 0.95


def test_batches_of_many_rows_keep_to_the_budget_by_their_true_lengths(table, few_read_first):
    examples, loaded = table
    order = Order(Encoded(examples, loaded.task, loaded.processor), 16, 400, 0)
    assert order.num_pools == 4
    found = [batch for pool in range(order.num_pools) for batch in order.batches(0, pool)]
    assert sorted(row for batch in found for row in batch) == list(range(3000))
    assert len(found) == pytest.approx(order.num_batches(), rel=0.02)
    for batch in found[::10]:
        lengths = [len(loaded.processor(examples[row]["text"])["input_ids"]) for row in batch]
        assert max(lengths) * len(batch) <= 400


def test_whether_rows_are_read_at_once_or_in_their_turn_makes_no_difference_to_a_batch(table, few_read_first, monkeypatch):
    examples, loaded = table
    many = Encoded(examples, loaded.task, loaded.processor)
    monkeypatch.setattr(batches, "MOST_READ_FIRST", 10_000)
    few = Encoded(examples, loaded.task, loaded.processor)
    assert few.known
    for pool in range(2):
        assert Order(many, 16, 400, 0).batches(0, pool) == Order(few, 16, 400, 0).batches(0, pool)
    for chosen in ([5, 7], [5, 7], [2999]):
        for a, b in zip(many.batch(chosen).inputs.values(), few.batch(chosen).inputs.values()):
            assert (a == b).all()


def test_a_run_that_stops_and_goes_on_learns_the_same_whether_rows_are_read_at_once_or_in_their_turn(table, few_read_first, monkeypatch):
    """8 of 750 steps: the second pool begins after 5."""
    monkeypatch.setattr(batches, "POOL_BATCHES", 5)
    examples, loaded = table
    before = copy.deepcopy(loaded.model.state_dict())

    def started():
        loaded.model.load_state_dict(before)
        encoded = Encoded(examples, loaded.task, loaded.processor)
        return State(whole(loaded.model), encoded, Training(batch_rows=4, epochs=8 / 750), Runtime(quiet=True))

    first = started()
    for step in train(first, loaded.task.loss):
        if step.number == 6:
            saved = copy.deepcopy(first.to_dict())
            break
    assert first.place[:2] == (0, 1) and not first.encoded.known
    second = started()
    second.from_dict(saved)
    assert [step.number for step in train(second, loaded.task.loss)] == [7, 8]
    stopped = copy.deepcopy(loaded.model.state_dict())
    monkeypatch.setattr(batches, "MOST_READ_FIRST", 10_000)
    third = started()
    assert third.encoded.known and third.steps == second.steps
    list(train(third, loaded.task.loss))
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, stopped[name]), name


def test_rows_whose_turn_has_come_are_let_go(table, few_read_first):
    examples, loaded = table
    encoded = Encoded(examples, loaded.task, loaded.processor)
    before = encoded._room
    encoded.read(numpy.arange(1000, 1100))
    encoded.batch(range(1000, 1100))
    assert encoded._room >= before and not set(range(1000, 1100)) & set(encoded._kept)


def test_rows_that_do_not_fit_in_memory_are_encoded_again(monkeypatch):
    kind = find("tasks", "text-classification").TASK
    examples = rows(kind, 4)
    loaded = create.create("bert-tiny", kind(LABELS), examples, Runtime())
    kept = Encoded(examples, loaded.task, loaded.processor)
    monkeypatch.setattr(batches, "CACHE_BYTES", 0)
    again = Encoded(examples, loaded.task, loaded.processor)
    assert again._found(range(4)) == kept._found(range(4)) and not again._kept and kept._kept


def test_padding_gives_the_tensors_that_the_tokenizer_itself_gives(table):
    """In steps of 2, 4 and 8 tokens, but never beyond what the model takes; a text alone is as long as it is."""
    _, loaded = table
    texts = ["the film", "the room was very warm and bright", "film " * 600, "film " * 40, "film " * 70]
    for chosen, step in (([0, 1], 2), ([0, 2], 1), ([1], 1), ([0, 3], 4), ([3, 4], 8)):
        entries = [loaded.processor(texts[i], truncation=True) for i in chosen]
        found = pad([{**entry, "row": i} for i, entry in enumerate(entries)], loaded.processor)
        true = loaded.processor.pad(entries, return_tensors="pt", pad_to_multiple_of=step)
        for name, values in true.items():
            assert found.inputs[name].shape == values.shape and found.inputs[name].dtype == values.dtype
            assert (found.inputs[name] == values).all()
