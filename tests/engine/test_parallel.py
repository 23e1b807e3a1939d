"""Ranks: sums over all of them, what the first has on every one, and what happens when one dies. Each test starts two processes."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from penjing.core.errors import ModelError, RankError
from penjing.core.runtime import place_of_rank
from penjing.engine import parallel
from penjing.engine.parallel import Group, start


def summing(folder: str) -> None:
    """What each rank finds, written to a file of its own."""
    torch.set_num_threads(1)
    parallel._PARTS_BYTES = 16  # several sums of several tensors
    group = Group("cpu")
    tensors = [torch.full((2, 3), float(group.rank + 1)), torch.arange(3.0) * (group.rank + 1), torch.ones(1)]
    group.sum(tensors)
    assert group.agreed(stop=group.rank == 1, save=False) == (False, False), "nothing is known of the others yet"
    total = group.total(1.5, group.rank)
    assert group.agreed(stop=False, save=False) == (True, False) and group.all(group.rank) == [0, 1]
    seen = group.from_first({"rank": group.rank, "weights": torch.full((2,), group.rank + 7.0)})
    torch.save((tensors, total, seen, place_of_rank()), Path(folder, f"{group.rank}.pt"))
    group.leave()


def dying(folder: str) -> None:
    """One rank is killed while the other waits for it."""
    group = Group("cpu")
    if group.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    group.sum([torch.ones(3)])
    Path(folder, "went on").touch()


def test_all_ranks_have_the_sum_and_what_the_first_has(tmp_path):
    start(2, summing, str(tmp_path))
    for rank in (0, 1):
        tensors, total, seen, place = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(tensors[0], torch.full((2, 3), 3.0)) and torch.equal(tensors[1], torch.arange(3.0) * 3)
        assert tensors[2].item() == 2 and total == [3.0, 1.0] and place == (rank, 2)
        assert seen["rank"] == 0 and torch.equal(seen["weights"], torch.full((2,), 7.0))


def test_when_a_rank_dies_the_others_stop_and_it_is_said_which(tmp_path):
    began = time.monotonic()
    with pytest.raises(RankError, match=r"rank [01] (died|stopped)"):
        start(2, dying, str(tmp_path))
    assert time.monotonic() - began < 60 and not (tmp_path / "went on").exists()


def refusing(folder: str) -> None:
    """Rank 1 finds a mistake that the user can mend."""
    if place_of_rank()[0] == 1:
        raise ModelError("step 3: the loss is nan", fix="lower --learning-rate")
    Group("cpu").sum([torch.ones(3)])


def test_what_a_rank_found_wrong_is_said_whole(tmp_path):
    with pytest.raises(RankError, match=r"rank 1 stopped: step 3: the loss is nan\n  next    lower --learning-rate"):
        start(2, refusing, str(tmp_path))


def test_the_rows_of_a_batch_are_shared_out_and_none_is_idle_in_a_way_that_counts():
    group = Group("cpu")
    assert group.share([4, 5, 6]) == [([4, 5, 6], True)] and group.share([4, 5, 6], 2) == [([4, 5], True), ([6], True)]
    shares = []
    for rank in range(4):
        group.rank, group.size = rank, 4
        shares += group.share([4, 5, 6], parts=2)
    assert shares == [([4], True), ([5], True), ([6], True), ([4], False)]
    group.rank, group.size = 1, 2
    assert group.share([4, 5, 6, 7, 8], parts=3) == [([5], True), ([7], True), ([4], False)], "as many parts as rank 0 has"
