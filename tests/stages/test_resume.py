"""A command that was killed and is given again, in processes that are killed for good: the same bits as one that nothing stopped."""

import json
import random
import shutil
import signal
import time

import pytest

from tests.conftest import write_reviews
from tests.warm import Warm

KILLS = 5
IN_A_WRITE = 2  # which of them comes while a checkpoint is half written
DRAW = random.Random()  # other moments in every run of the suite


@pytest.fixture(scope="module")
def killed(cache, tmp_path_factory):
    """Two outputs of one command, `whole` and the one whose makers were killed; and what the latter said, each in its turn."""
    folder = tmp_path_factory.mktemp("killed")
    rows = write_reviews(folder / "reviews.csv", 200)
    words = ["finetune", "new:bert-tiny", rows, "--task=text-classification", "--epochs=5", "--batch-rows=8", "--learning-rate=1e-3",
             "--patience=5", "--agreement=0.5", "--average=0.5", "--threads=1"]  # fmt: skip
    said = []
    with Warm() as warm:
        warm.begin(*words, f"--out={folder / 'whole'}", "--checkpoint-every=0", told=folder / "said")
        assert warm.ended() == 0, (folder / "said").read_text()
        often = [*words, f"--out={folder / 'parts'}", "--checkpoint-every=0.03s"]
        for kill in range(KILLS):
            before = newest(folder, "parts")
            warm.begin(*often, told=folder / "said", dies_at=DRAW.randrange(1, 3) if kill == IN_A_WRITE else None)
            if kill != IN_A_WRITE:
                wait_until(lambda before=before: newest(folder, "parts") > before)
                time.sleep(DRAW.uniform(0, 0.06))
                warm.send(signal.SIGKILL)
            assert warm.ended() == -signal.SIGKILL, (folder / "said").read_text()
            said.append((folder / "said").read_text())
            if kill == IN_A_WRITE:
                assert list(folder.glob(".parts.partial/.checkpoints/step-*.tmp")), "it was to die in a write"
        shutil.copytree(folder / ".parts.partial", folder / ".other.partial")
        warm.begin(*often, told=folder / "said")
        assert warm.ended() == 0
        said.append((folder / "said").read_text())
        yield folder, words, said, warm


def newest(folder, name):
    """The last step of which there is a checkpoint; 0 where there is none."""
    return max((int(path.name.split("-")[1]) for path in folder.glob(f".{name}.partial/.checkpoints/step-*-*[!p]")), default=0)


def wait_until(holds):
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it did not come in a minute"
        time.sleep(0.002)


def test_after_five_kills_the_weights_are_those_of_a_run_that_nothing_stopped(killed):
    folder, _, said, _ = killed
    assert len(said) == KILLS + 1 and all("going on after step" in each for each in said[1:])
    assert (folder / "parts" / "model.safetensors").read_bytes() == (folder / "whole" / "model.safetensors").read_bytes()
    assert "damaged" not in "".join(said)


def test_the_finished_output_holds_no_checkpoints(killed):
    folder, *_ = killed
    files = [{path.name for path in (folder / name).rglob("*")} for name in ("whole", "parts")]
    assert files[0] == files[1] and ".checkpoints" not in files[1] and not (folder / ".parts.partial").exists()


def test_an_unfinished_output_is_not_gone_on_with_by_another_command(killed):
    """`other` is what the last kill left, under a name of its own."""
    folder, words, _, warm = killed
    there = sorted(folder.rglob(".other.partial/.checkpoints/*.pt"))
    for changed in ([], ["--dry-run"]):
        warm.begin(*words, "--seed=3", f"--out={folder / 'other'}", *changed, told=folder / "said")
        assert warm.ended() == 2
        said = (folder / "said").read_text()
        assert f"{folder / 'other'} was begun otherwise and is not finished: seed 0, now 3" in said and "--overwrite to begin anew" in said
    assert sorted(folder.rglob(".other.partial/.checkpoints/*.pt")) == there != []
    warm.begin(*words, "--seed=3", f"--out={folder / 'other'}", "--overwrite", told=folder / "anew")
    wait_until(lambda: (folder / "anew").exists() and "1 threads" in (folder / "anew").read_text())
    warm.send(signal.SIGKILL)
    assert warm.ended() == -signal.SIGKILL and "going on" not in (folder / "anew").read_text()


@pytest.fixture(scope="module")
def alone(killed):
    """The words of a command that has a batch of one row, and the losses of one process that ran it."""
    folder, *_, warm = killed
    rows = write_reviews(folder / "odd.csv", 206)  # 144 of them train
    words = ["finetune", "new:bert-tiny", rows, "--task=text-classification", "--epochs=1", "--batch-rows=13", "--learning-rate=1e-3",
             "--average=0.5", "--dropout=0", "--precision=fp32", "--threads=1"]  # fmt: skip
    warm.begin(*words, f"--out={folder / 'alone'}", told=folder / "said")
    assert warm.ended() == 0, (folder / "said").read_text()
    return words, losses(folder / "alone")


def losses(out):
    """Of each step; and that one had a single row."""
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert min(step["rows"] for step in steps) == 1
    return [step["loss"] for step in steps]


@pytest.mark.parametrize("how", [[], ["--sharded"]], ids=["whole on each", "shared out"])
def test_two_ranks_learn_what_one_does_and_once_killed_end_with_the_same_bits(killed, alone, how):
    """Killed both at once, then one, which the other must notice; then the newest checkpoint is damaged."""
    folder, *_, warm = killed
    words, by_one = [*alone[0], *how], alone[1]
    whole, out = folder / f"two-whole{len(how)}", folder / f"two{len(how)}"
    warm.begin(*words, f"--out={whole}", "--checkpoint-every=0", told=folder / "said", ranks=2)
    assert warm.ended() == 0 and losses(whole) == pytest.approx(by_one, rel=1e-4), (folder / "said").read_text()
    often = [*words, f"--out={out}", "--checkpoint-every=0.01s"]
    for dying in ((0, 1), (1,)):
        before, began = newest(folder, out.name), time.monotonic()
        warm.begin(*often, told=folder / "said", ranks=2)
        wait_until(lambda before=before: newest(folder, out.name) > before + 1)
        warm.send(signal.SIGKILL, *dying)
        assert warm.ended() != 0 and time.monotonic() - began < 60
    step = newest(folder, out.name)
    (checkpoint,) = folder.glob(f".{out.name}.partial/.checkpoints/step-{step}-*")
    damaged = next(checkpoint.glob("__1_*")) if how else checkpoint
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    warm.begin(*often, told=folder / "said", ranks=2)
    assert warm.ended() == 0
    said = (folder / "said").read_text()
    assert f"penjing: {checkpoint} is damaged: it is not used" in said and "going on after step" in said
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (folder / "alone").iterdir()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_a_checkpoint_and_say_so(killed, number):
    folder, words, _, warm = killed
    warm.begin(*words, "--epochs=50", f"--out={folder / number.name}", "--checkpoint-every=0.1s", told=folder / "said")
    wait_until(lambda: newest(folder, number.name))
    warm.send(number)
    assert warm.ended() == 128 + number
    step = newest(folder, number.name)
    said = f"penjing: stopped after step {step} of 900; the same command goes on after step {step}"
    assert (folder / "said").read_text().splitlines()[-1] == said


def test_rounds_of_a_prune_that_were_killed_go_on_to_the_same_bits(killed):
    folder, words, _, warm = killed
    prune = ["prune", folder / "whole", words[2], "--method=weights", "--rounds=2", "--epochs=2", "--batch-rows=8", "--threads=1"]
    warm.begin(*prune, f"--out={folder / 'sparse-whole'}", "--checkpoint-every=0", told=folder / "said")
    assert warm.ended() == 0, (folder / "said").read_text()
    often = [*prune, f"--out={folder / 'sparse'}", "--checkpoint-every=0.03s"]
    for there in (".sparse.partial/training-1", ".sparse.partial"):
        warm.begin(*often, told=folder / "said")
        wait_until(lambda there=there: list((folder / there / ".checkpoints").glob("step-*.pt")))
        warm.send(signal.SIGKILL)
        assert warm.ended() == -signal.SIGKILL
    assert newest(folder, "sparse")
    warm.begin(*often, told=folder / "said")
    assert warm.ended() == 0 and "going on after step" in (folder / "said").read_text()
    assert (folder / "sparse" / "model.safetensors").read_bytes() == (folder / "sparse-whole" / "model.safetensors").read_bytes()
