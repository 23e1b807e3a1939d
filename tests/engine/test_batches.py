"""Batches: every row once, like lengths together, no batch over its budget, the same draws for the same seed and epoch."""

import random

import pytest

from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.engine import batches, create
from tests.contract.test_tasks import LABELS, rows

LENGTHS = [random.Random(0).randrange(1, 200) for _ in range(5000)]


@pytest.mark.parametrize("order", [batches.training_order(LENGTHS, 32, 2048, 0, 0), batches.measuring_order(LENGTHS, 32, 2048)])
def test_every_row_comes_once_and_no_batch_is_over_its_budget(order):
    assert sorted(row for batch in order for row in batch) == list(range(len(LENGTHS)))
    for batch in order:
        assert len(batch) <= 32 and max(LENGTHS[row] for row in batch) * len(batch) <= 2048


def test_a_row_longer_than_the_budget_is_a_batch_of_its_own():
    assert [1] in batches.training_order([10, 500, 10], 32, 100, 0, 0)


def test_little_is_padded():
    order = batches.training_order(LENGTHS, 32, 4096, 0, 0)
    padded = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in order)
    assert padded / sum(LENGTHS) < 1.1


def test_the_order_is_a_function_of_seed_and_epoch():
    first = batches.training_order(LENGTHS, 32, 4096, 3, 1)
    assert first == batches.training_order(LENGTHS, 32, 4096, 3, 1)
    assert first != batches.training_order(LENGTHS, 32, 4096, 3, 2) != batches.training_order(LENGTHS, 32, 4096, 4, 1)


def test_short_texts_do_not_come_first():
    """No order bias: the mean length of a batch is unrelated to when it comes."""
    order = batches.training_order(LENGTHS, 32, 10**6, 0, 0)
    mean = [sum(LENGTHS[row] for row in batch) / len(batch) for batch in order]
    half = len(mean) // 2
    assert abs(sum(mean[:half]) / half - sum(mean[half:]) / (len(mean) - half)) < 25


def test_rows_that_do_not_fit_in_memory_are_encoded_again(monkeypatch):
    kind = find("tasks", "text-classification").TASK
    examples = rows(kind, 4)
    loaded = create.create("bert-tiny", kind(LABELS), examples, Runtime())
    kept = batches.Encoded(examples, loaded.task, loaded.processor)
    monkeypatch.setattr(batches, "CACHE_BYTES", 0)
    again = batches.Encoded(examples, loaded.task, loaded.processor)
    assert [again[i] for i in range(4)] == [kept[i] for i in range(4)] and not again._kept and kept._kept
