"""Batches as large as memory allows: a line through a few passes, held against memory that grows by a known number of bytes."""

import copy
import time

import pytest
import torch

import penjing
from penjing.core.runtime import resident_bytes
from penjing.engine import room
from tests.engine.test_train import started

HELD, FIXED, EACH = 10**9, 10**8, 10**6


@pytest.fixture
def machine(monkeypatch):
    """Sets what is free; a pass takes FIXED bytes and EACH for a token, and nothing else is to come."""
    seen = [0]
    gradients = room.gradients

    def counted(state, share, loss):
        seen[0] = len(share.rows) * int(state.encoded.lengths[share.rows].max())
        return gradients(state, share, loss)

    def peak(passes, device):
        passes()
        return HELD + FIXED + EACH * seen[0]

    monkeypatch.setattr(room, "gradients", counted)
    monkeypatch.setattr(room, "_peak", peak)
    monkeypatch.setattr(room, "_to_come", lambda state: 0)
    return lambda free: monkeypatch.setattr(room, "held_and_free", lambda device: (HELD, free))


@pytest.mark.parametrize(
    ("free", "tokens"),  # (0.8 free - FIXED) / EACH, and the power of two or one and a half of it below that
    [(10**9, 512), (12 * 10**8, 768), (2 * 10**9, 1024)],
)
def test_a_batch_takes_its_share_of_what_is_free(machine, free, tokens, runtime, capsys):
    machine(free)
    state, task = started("text-classification", penjing.Runtime(threads=1), num_rows=60, batch_tokens="auto", batch_rows=1000)
    assert room.choose_batch(state, task.loss) == (min(1000, tokens), tokens)
    assert f"80% of {free / 1e9:.1f} GB, at 1,000 kB for each" in capsys.readouterr().err


def test_no_more_is_taken_than_the_rows_need(machine, capsys):
    machine(10**12)
    state, task = started("text-classification", penjing.Runtime(threads=1), num_rows=60, batch_tokens="auto", batch_rows=10)
    longest = int(state.encoded.lengths.max())
    assert room.choose_batch(state, task.loss) == (10, 10 * longest)
    assert "memory has room for 786,432; more rows by --batch-rows" in capsys.readouterr().err


def test_without_a_number_of_rows_an_epoch_keeps_fifty_steps_or_batches_of_32(machine, runtime, monkeypatch):
    machine(10**12)
    state, task = started("text-classification", runtime, num_rows=60, batch_tokens="auto", batch_rows=None)
    assert room.choose_batch(state, task.loss)[0] == 32
    monkeypatch.setattr(room, "BATCH_ROWS", 1)
    monkeypatch.setattr(room, "ROWS_SHARE", 10)
    rows, tokens = room.choose_batch(state, task.loss)
    state.cut(rows, tokens)
    assert rows == 6 and state.epoch_steps == 10


def test_a_row_for_which_there_is_no_room_makes_a_batch_alone(machine, runtime):
    machine(0)
    state, task = started("text-classification", runtime, batch_tokens="auto", batch_rows=None)
    state.cut(*room.choose_batch(state, task.loss))
    assert max(len(rows) * int(state.encoded.lengths[rows].max()) for rows in state.order.batches(0, 0)) <= state.encoded.lengths.max()


@pytest.mark.parametrize("task_name", ["text-classification", "image-classification"])
def test_the_probe_leaves_weights_and_statistics_as_they_were_and_draws_nothing(task_name, runtime):
    state, task = started(task_name, runtime, batch_tokens="auto", batch_rows=None)
    before = copy.deepcopy(state.model.state_dict())
    rows, tokens = room.choose_batch(state, task.loss)
    assert rows == 32 and 1 <= tokens <= int(state.encoded.lengths.max()) * 24
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_a_peak_is_what_was_held_at_once_though_it_is_free_again():
    size, before = 1 << 28, resident_bytes()

    def work():
        held = torch.ones(size, dtype=torch.uint8)
        time.sleep(0.05)
        del held

    assert size * 0.9 < room._peak(work, "cpu") - before < size * 1.2


def test_a_model_learns_in_batches_that_memory_decided_and_its_card_says_so(reviews, tmp_path):
    words = {"task": "text-classification", "epochs": 1, "batch_tokens": "auto", "gradient_checkpointing": True}
    model, report = penjing.finetune(
        "new:bert-tiny", reviews, out=tmp_path / "out", runtime=penjing.Runtime(threads=1, quiet=True), **words
    )
    rows, tokens = report.facts["training"]["batch"]
    assert rows == 32 and f"Batches had at most 32 rows and {tokens:,} tokens" in (model.path / "README.md").read_text()
