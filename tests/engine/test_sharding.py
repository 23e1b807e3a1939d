"""A model that is shared out: the numbers of one that is not, and a checkpoint that knows when it is damaged.

Here one rank holds all parts, in this process; two that train together are killed in tests/stages/test_resume.py.
"""

import errno
import os

import pytest
import torch
import torch.distributed as dist

from penjing.core.errors import OptionError
from penjing.engine.checkpoints import Checkpoints, Unusable
from penjing.engine.parallel import Group
from penjing.engine.sharding import ShardFiles
from penjing.engine.train import train
from tests.engine.test_train import started


@pytest.fixture(scope="module", autouse=True)
def group():
    """A group of ranks with this process alone in it."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield Group("cpu")
    dist.destroy_process_group()


def learnt(runtime, **options):
    """Losses, norms of gradients, and the weights in the end."""
    state, task = started("text-classification", runtime, **options)
    steps = [(step.loss, step.gradient_norm) for step in train(state, task.loss)]
    with state.settled():
        return torch.tensor(steps), state.whole()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"average": 0.5, "parts": 3},
        {"optimizer": "sgd", "learning_rate": 0.05, "l1": 0.01},
        {"settings": {"unfreeze": 0.7, "layer_decay": 0.5}},
        {"gradient_checkpointing": True},
        {"method": "lora", "settings": {"rank": 2}},
        {"precision": "bf16"},
    ],
    ids=lambda options: next(iter(options), "full"),
)
def test_a_model_that_is_shared_out_learns_what_a_whole_one_does(options, runtime):
    """To rounding, which AdamW makes much of where a gradient is small; in bf16 a block that is shared out has its norms rounded too."""
    bf16 = options.get("precision") == "bf16"
    (whole, weights), (parts, gathered) = (learnt(runtime, **options, sharded=sharded) for sharded in (False, True))
    torch.testing.assert_close(parts, whole, rtol=0.02 if bf16 else 1e-4, atol=1e-4)
    assert list(gathered) == list(weights)
    for name, weight in weights.items():
        assert gathered[name].dtype == weight.dtype and type(gathered[name]) is torch.Tensor
        torch.testing.assert_close(gathered[name], weight, rtol=0.05, atol=0.01 if bf16 else 2e-3)


def test_the_model_that_was_given_stays_whole_and_as_it_was(runtime):
    state, task = started("text-classification", runtime, sharded=True)
    given = state.learner.model
    before = {name: value.clone() for name, value in given.state_dict().items()}
    list(train(state, task.loss))
    assert given is not state.model and all(torch.equal(value, before[name]) for name, value in given.state_dict().items())


def test_a_training_goes_on_to_the_bit_from_what_the_ranks_wrote(runtime, group, tmp_path):
    whole, task = started("text-classification", runtime, sharded=True, average=0.5)
    list(train(whole, task.loss))
    first, _ = started("text-classification", runtime, sharded=True, average=0.5)
    kept = Checkpoints(tmp_path, "key", 1.0, 0, ShardFiles(group))
    for step in train(first, task.loss):
        if step.number in (3, 4):
            kept.save(step.number, first.to_dict(), {"curve": [1.5]}, (0, None))
        if step.number == 4:
            break
    second, _ = started("text-classification", runtime, sharded=True, average=0.5)
    files = ShardFiles(group)
    found = Checkpoints(tmp_path, "key", 1.0, 0, files).latest()
    assert (found["step"], found["run"]) == (4, {"curve": [1.5]})
    second.from_dict(files.filled(found))
    list(train(second, task.loss))
    for name, value in whole.whole().items():
        assert torch.equal(value, second.whole()[name]), name


def test_a_folder_of_shards_is_refused_by_name_where_one_of_its_files_has_changed(group, tmp_path):
    files = ShardFiles(group)
    folder = tmp_path / files.write(tmp_path, "step-7", {"key": "k", "state": {"numbers": (1, 2)}})
    assert files.opened(folder)["state"] == {"numbers": (1, 2)}
    assert not list(tmp_path.glob("*.tmp"))
    part = next(folder.glob("rest-*"))
    part.write_bytes(part.read_bytes() + b" ")
    with pytest.raises(Unusable, match=f"{folder} is damaged"):
        files.opened(folder)
    files.forget(folder)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_said_as_of_any_checkpoint(runtime, group, tmp_path, monkeypatch):
    state, _ = started("text-classification", runtime, sharded=True)
    kept = Checkpoints(tmp_path, "key", 1.0, 0, ShardFiles(group))
    kept.save(3, state.to_dict(), {}, (0, None))

    def fsync(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OptionError, match="the disk is full, the checkpoint of step 8 cannot be written"):
        kept.save(8, state.to_dict(), {}, (0, None))
    monkeypatch.undo()
    assert Checkpoints(tmp_path, "key", 1.0, 0, ShardFiles(group)).latest()["step"] == 3


def test_ranks_that_do_not_write_to_one_folder_are_told_so(group, tmp_path, monkeypatch):
    monkeypatch.setattr(group, "all", lambda value: [value, {"__1_0.distcp": "0" * 32}])
    with pytest.raises(OptionError, match=r"lacks __1_0\.distcp, which a rank on another machine has written"):
        ShardFiles(group).write(tmp_path, "step-7", {"key": "k"})
