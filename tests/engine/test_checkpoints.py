"""Checkpoints: whole or not there, known by their hash, few; and a training that goes on from one ends with the same bits."""

import copy
import errno
import hashlib
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from penjing.core.contracts import RowLoss
from penjing.core.errors import ModelError, OptionError
from penjing.core.find import find
from penjing.core.runtime import Runtime
from penjing.core.stopping import Stopped, stopping
from penjing.core.training import Training
from penjing.engine import checkpoints, create, regularizers
from penjing.engine import fit as fit_module
from penjing.engine.anatomy import anatomy
from penjing.engine.checkpoints import Checkpoints
from penjing.engine.fit import fit
from penjing.engine.teach import teach
from tests.contract.test_tasks import LABELS, rows

STATE = {"model": {"a": torch.arange(6.0).view(2, 3)}, "optimizer": {"step": 3, "rates": [0.1, 0.2]}, "random": torch.get_rng_state()}
BEST = {"a": torch.ones(2, 3)}


ALONE = Runtime(threads=1, quiet=True)


@pytest.fixture
def threads():
    """torch has as many again afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def begun(folder, key="k", every=1.0):
    return Checkpoints(folder, key, every, 24)


def names(folder):
    return sorted(re.sub(r"-[0-9a-f]{32}", "", path.name) for path in folder.iterdir())


def saved(folder, *steps, best=(0, None)):
    kept = begun(folder)
    for step in steps:
        kept.save(step, STATE, {"waited": step}, best)
    return kept


def test_what_was_saved_is_found_again(tmp_path):
    saved(tmp_path / "deep", 5, best=(4, BEST))
    found = begun(tmp_path / "deep").latest()
    assert (found["step"], found["run"]) == (5, {"waited": 5}) and found["state"]["optimizer"] == STATE["optimizer"]
    assert torch.equal(found["state"]["model"]["a"], STATE["model"]["a"]) and torch.equal(found["best"]["a"], BEST["a"])
    assert begun(tmp_path / "nothing").latest() is None


def test_the_name_of_a_file_holds_half_the_sha256_of_its_content(tmp_path):
    saved(tmp_path, 5)
    (path,) = tmp_path.iterdir()
    assert path.name == f"step-5-{hashlib.sha256(path.read_bytes()).hexdigest()[:32]}.pt"


def test_the_last_two_are_kept_and_the_best_that_they_name(tmp_path):
    kept = begun(tmp_path)
    for step, best in [(1, 1), (2, 1), (3, 3), (10, 4), (11, 4)]:
        kept.save(step, STATE, {}, (best, BEST))
    assert names(tmp_path) == ["best-4.pt", "step-10.pt", "step-11.pt"]
    again = begun(tmp_path)
    assert again.latest()["step"] == 11
    again.save(12, STATE, {}, (4, BEST))
    assert names(tmp_path) == ["best-4.pt", "step-11.pt", "step-12.pt"]


@pytest.mark.parametrize("damage", ["a bit", "its end", "nothing left"])
def test_a_damaged_checkpoint_is_refused_by_name_and_the_one_before_is_used(tmp_path, capsys, damage):
    saved(tmp_path, 9, 10)
    path = next(tmp_path.glob("step-10-*"))
    whole = path.read_bytes()
    path.write_bytes({"a bit": bytes([whole[0] ^ 1]) + whole[1:], "its end": whole[: len(whole) // 2], "nothing left": b""}[damage])
    assert begun(tmp_path).latest()["step"] == 9
    assert f"penjing: {path} is damaged: it is not used" in capsys.readouterr().err


def test_one_whose_best_weights_are_damaged_or_gone_is_not_used(tmp_path, capsys):
    kept = saved(tmp_path, 9, best=(7, BEST))
    kept.save(10, STATE, {}, (10, BEST))
    best = next(tmp_path.glob("best-10-*"))
    best.write_bytes(b"x")
    assert begun(tmp_path).latest()["step"] == 9 and f"{best} is damaged" in capsys.readouterr().err
    next(tmp_path.glob("best-7-*")).unlink()
    assert begun(tmp_path).latest() is None
    assert "cannot be read (No such file or directory)" in (err := capsys.readouterr().err) and "the training begins anew" in err


def test_one_of_another_training_is_not_used(tmp_path, capsys):
    saved(tmp_path, 9)
    assert begun(tmp_path, key="other").latest() is None
    assert "is of another training: it is not used" in capsys.readouterr().err


def full_when_it_is_written(monkeypatch):
    """As Linux says it: when a file grows; torch then hides the reason behind an error of its own."""
    grow = checkpoints._Hashing.write

    def write(self, data):
        if self.tell() + len(data) > 2000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return grow(self, data)

    monkeypatch.setattr(checkpoints._Hashing, "write", write)


def full_when_it_is_brought_to_the_disk(monkeypatch):
    def fsync(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize("make_full", [full_when_it_is_written, full_when_it_is_brought_to_the_disk])
def test_a_full_disk_is_said_with_the_room_it_takes_and_the_last_checkpoint_stays_whole(tmp_path, monkeypatch, make_full):
    kept = saved(tmp_path, 3)
    with monkeypatch.context() as patch:
        make_full(patch)
        with pytest.raises(OptionError) as raised:
            kept.save(8, {"model": {"a": torch.zeros(1 << 20)}}, {}, (0, None))
    assert f"{tmp_path}: the disk is full, the checkpoint of step 8 cannot be written" in str(raised.value)
    assert raised.value.wanted.startswith("4 MiB; ") and "it goes on after step 3" in raised.value.fix
    assert names(tmp_path) == ["step-3.pt"] and begun(tmp_path).latest()["step"] == 3


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full_leaves_the_last_checkpoint_whole(tmp_path):
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        kept = saved(tmp_path, 3)
        with pytest.raises(OptionError, match="the disk is full"):
            kept.save(8, {"model": {"a": torch.zeros(1 << 20)}}, {}, (0, None))
        assert names(tmp_path) == ["step-3.pt"] and begun(tmp_path).latest()["step"] == 3
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_another_error_of_the_system_is_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: Path("/no/such/file").stat())
    with pytest.raises(FileNotFoundError):
        saved(tmp_path, 3)
    assert names(tmp_path) == []


def test_saving_takes_at_most_a_twentieth_of_the_time(tmp_path, monkeypatch):
    """A disk on which each checkpoint takes 8 s, and steps of a second, for two hours."""
    now = 0.0
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now)
    kept, spent, first = begun(tmp_path, every=None), 0.0, None
    monkeypatch.setattr(checkpoints.Files, "write", lambda *_: f"step-1-{'0' * 32}.pt")
    forget = checkpoints.Path.iterdir

    def slow(folder):
        nonlocal now, spent
        now, spent = now + 8.0, spent + 8.0
        return forget(folder)

    monkeypatch.setattr(checkpoints.Path, "iterdir", slow)
    while now < 7200:
        now += 1.0
        if kept.due():
            first = first or now
            kept.save(1, {}, {}, (0, None))
    assert first == 30.0 and 0.03 < spent / now < 0.05


def test_zero_seconds_means_no_checkpoints_even_when_a_stop_is_asked_for(tmp_path):
    assert not begun(tmp_path, every=0.0).due(asked=True)
    assert begun(tmp_path, every=None).due(asked=True) and not begun(tmp_path, every=None).due()


def test_the_first_signal_is_noted_and_the_second_stops_at_once():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt), stopping() as asked:
        assert asked.number is None
        signal.raise_signal(signal.SIGTERM)
        assert asked.number == signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_nothing_has_seen_to_stops_when_the_work_is_over():
    with pytest.raises(Stopped) as raised, stopping():
        signal.raise_signal(signal.SIGINT)
    assert raised.value.number == signal.SIGINT


def made(runtime=ALONE, **settings):
    """A small text model with dropout, and what its method of finetune makes of it."""
    kind = find("tasks", "text-classification").TASK
    loaded = create.create("bert-tiny", kind(LABELS), rows(kind, 24), runtime)
    method = find("methods.finetune", "full")
    torch.manual_seed(runtime.seed)
    return loaded, method.apply(loaded.model, anatomy(loaded.model), method.Options(**settings))


def by_finetune(options, out, agreement=0.0, **settings):
    """Facts and weights of a finetuned model."""
    loaded, learner = made(**settings)
    loss, repeats = (regularizers.agreeing(loaded.task, agreement), regularizers.REPEATS) if agreement else (loaded.task.loss, 1)
    examples = rows(type(loaded.task), 24)
    facts = fit(loaded, loss, examples, examples[:12], options, ALONE, out, repeats, learner)
    return facts, loaded.model.state_dict()


def by_distill(options, out, method="logits"):
    """Facts and weights of a student, half as wide as its teacher; the recovery after prune is the same call."""
    (teacher, _), (student, _) = made(), made()
    config = copy.deepcopy(student.model.config)
    config.hidden_size //= 2
    student.model = type(student.model)(config).eval()

    class Roles:
        role = staticmethod(lambda name: Shown(rows(type(student.task), 24 if name == "train" else 12)))

    class Shown(list):
        only = staticmethod(lambda names: rows(type(student.task), 24))

    settings = find("methods.distill", method).Options()
    return teach(teacher, student, Roles, method, settings, options, ALONE, out), student.model.state_dict()


CASES = {
    "patience": (by_finetune, {"patience": 2, "learning_rate": 0.02}, {}),
    "unfreezing": (by_finetune, {}, {"unfreeze": 0.7, "layer_decay": 0.5}),
    "R-Drop": (by_finetune, {}, {"agreement": 1.0}),
    "bf16, an average": (by_finetune, {"precision": "bf16", "average": 0.9}, {}),
    "muon": (by_finetune, {"optimizer": "muon"}, {}),
    "distill": (by_distill, {}, {}),
    "distill, changed rows": (by_distill, {"augment": ["excerpts", "typos"]}, {}),
    "distill, states": (by_distill, {"precision": "bf16"}, {"method": "hidden"}),
    "distill, relations": (by_distill, {"gradient_checkpointing": True}, {"method": "relations"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_training_that_is_stopped_after_any_steps_ends_with_the_same_bits(case, threads, tmp_path, monkeypatch):
    """Stopped by Ctrl-C after the 2nd, 3rd and 6th update, with a checkpoint at each; other draws are made in between."""
    train, words, settings = CASES[case]
    options = Training(**{"epochs": 3, "learning_rate": 1e-3, "batch_rows": 8, "precision": "fp32", "checkpoint_every": 0.0, **words})
    facts, whole = train(options, tmp_path / "whole", **settings)
    whole, counts = copy.deepcopy(whole), iter((2, 1, 3, 99))
    stop_after, written = 0, Checkpoints.save

    def save(self, *given):
        nonlocal stop_after
        written(self, *given)
        stop_after -= 1
        if not stop_after:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoints, "save", save)
    often, stops = Training(**{**vars(options), "checkpoint_every": 1e-9}), 0
    while True:
        stop_after = next(counts)
        torch.manual_seed(999)
        try:
            again, parts = train(often, tmp_path / "parts", **settings)
            break
        except Stopped as stop:
            stops += 1
            assert stop.number == signal.SIGINT and "the same command goes on after step" in stop.told
    assert stops == 3
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    different = {"seconds", "losses", "plan"}  # the points of the losses hold the seconds of each step, the plan what came
    assert {**facts, **dict.fromkeys(different)} == {**again, **dict.fromkeys(different)}
    assert [(step, loss) for step, _, loss in facts["losses"]] == [(step, loss) for step, _, loss in again["losses"]]


def test_what_a_training_decided_by_itself_is_kept_to_where_it_goes_on(threads, tmp_path, monkeypatch):
    """Another machine, or a busier one, would choose other threads, another precision and larger or smaller batches."""
    free = Runtime(threads=0, quiet=True)
    options = Training(epochs=2, batch_rows=8, checkpoint_every=1e-9)
    monkeypatch.setattr(fit_module, "thread_counts", lambda asked, ranks: [1])
    monkeypatch.setattr(fit_module, "choose_batch", lambda state, loss: (6, 4096))
    loaded, _ = made(free)
    calls = 0

    def loss(outputs, batch):
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return loaded.task.loss(outputs, batch)

    examples = rows(type(loaded.task), 24)
    with pytest.raises(KeyboardInterrupt):
        fit(loaded, loss, examples, examples[:12], options, free, tmp_path)
    monkeypatch.setattr(fit_module, "thread_counts", lambda asked, ranks: [2])
    monkeypatch.setattr(fit_module, "choose_batch", lambda state, loss: (12, 4096))
    monkeypatch.setattr("penjing.engine.train.choose_precision", lambda model, options, runtime: options.precision)
    loaded, _ = made(free)
    facts = fit(loaded, loaded.task.loss, examples, examples[:12], options, free, tmp_path)
    assert facts["losses"][-1][0] == 8, "two epochs of 24 rows"
    assert (facts["threads"], facts["precision"], facts["batch"]) == (1, "fp32", (6, 4096)) and torch.get_num_threads() == 1


def test_a_loss_that_is_not_finite_leaves_the_last_checkpoint(threads, tmp_path):
    loaded, _ = made()
    calls = 0

    def loss(outputs, batch):
        nonlocal calls
        calls += 1
        plain = loaded.task.loss(outputs, batch)
        return RowLoss(plain.total * (math.nan if calls == 4 else 1.0), plain.count)

    examples = rows(type(loaded.task), 24)
    with pytest.raises(ModelError, match="step 4: the loss is nan"):
        fit(loaded, loss, examples, examples[:12], Training(epochs=2, batch_rows=8, checkpoint_every=1e-9), ALONE, tmp_path)
    assert names(tmp_path / ".checkpoints")[-2:] == ["step-2.pt", "step-3.pt"]
