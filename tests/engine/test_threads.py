"""Thread counts are tried in the steps of a training itself, so that nothing is computed for nothing."""

import dataclasses
import itertools

import torch

from penjing.core.find import find
from penjing.core.training import Training
from penjing.engine import create, fit, threads
from penjing.engine.threads import fastest, next_threads, thread_counts
from tests.contract.test_tasks import LABELS, rows


def test_what_was_asked_for_is_not_tried_and_ranks_share_the_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    assert thread_counts(0, 1) == [4, 8, 1] and thread_counts(3, 1) == [3] and thread_counts(0, 4) == [2] and thread_counts(0, 20) == [1]
    assert next_threads([3], []) == fastest([3], []) == 3


def test_each_count_has_its_turn_and_then_the_fastest_stays():
    """A step of a long batch takes longer: what counts is the time for each unit of length; a slow first step warms up."""
    cost, used, tried = {4: 0.3, 8: 0.1, 1: 0.15}, [], []
    for number in range(12):
        used.append(next_threads([4, 8, 1], tried))
        if threads.untried([4, 8, 1], tried):
            tried.append((used[-1], cost[used[-1]] * (1.3 if number % 3 == 0 else 1)))
    assert used == [4, 4, 4, 8, 8, 8, 1, 1, 1, 8, 8, 8]
    assert fastest([4, 8, 1], tried[:3]) == 4


def test_what_is_slower_by_far_is_given_up_after_one_step():
    """All cores of a busy machine, and one of a machine that has many."""
    cost, tried = {4: 0.3, 8: 3.0, 1: 0.7}, []
    while chosen := threads.untried([4, 8, 1], tried):
        tried.append((chosen, cost[chosen]))
    assert [used for used, _ in tried] == [4, 4, 4, 8, 1] and next_threads([4, 8, 1], tried) == 4


def test_a_training_uses_them_and_its_report_says_which_was_fastest(monkeypatch, runtime, tmp_path):
    used, kind = [], find("tasks", "image-classification").TASK
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(fit.torch, "set_num_threads", used.append)
    examples, options = rows(kind, 24), Training(epochs=3, batch_rows=8, precision="fp32")
    monkeypatch.setattr(threads, "GIVEN_UP", 1e9)
    for asked, tried in ((0, [1, 1, 1, 2, 2, 2]), (1, [1] * 6)):
        used.clear()
        free = dataclasses.replace(runtime, threads=asked)
        loaded = create.create("resnet-tiny", kind(LABELS), examples, free)
        facts = fit.fit(loaded, loaded.task.loss, examples, examples[:6], options, free, tmp_path / str(asked))
        assert used.index(tried[0]) == 0 and facts["threads"] == used[-1] in tried
        assert [n for n, _ in itertools.groupby(used)][: len(set(tried))] == list(dict.fromkeys(tried))
    assert torch.get_num_threads() == 1
