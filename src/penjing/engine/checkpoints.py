"""Checkpoints of a training: where it was stopped or killed, the same command goes on to the bit.

    step-120-<hash>.pt    all that the next step depends on, what `fit` has noted of the run, and the name of the best weights; where the
                          model is shared out among ranks a folder that all write to (`sharding.ShardFiles`)
    best-80-<hash>.pt     the weights that did best on the tune rows so far, from step 80

A file is written aside, brought to the disk and renamed, so it is whole or not there; the hash in its name, the first half of sha256,
tells whether it still is what was written. An older one is deleted when two newer ones are on the disk. They are private working state,
which torch writes and opens without running code from it.
"""

import dataclasses
import errno
import hashlib
import io
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from penjing.core.durable import settle
from penjing.core.errors import OptionError
from penjing.core.progress import say
from penjing.core.runtime import Runtime, place_of_rank
from penjing.core.training import Training
from penjing.engine.batches import Encoded
from penjing.engine.corpus import Packed
from penjing.methods.finetune import Learner

KEPT = 2
FIRST_S = 30.0  # less than this is sooner done again than worth a file
MOST_SHARE = 0.04  # of the time of a run that saving may take; a bound of 5 % then holds where the disk is a little slower once
DISK_RATE = 200e6  # bytes/s of a slow disk, taken until the first has been written
COPIES = 4  # of the weights in a checkpoint: themselves, two moments of AdamW, the best


class Unusable(Exception):
    """A file that is not what was written, or not for this training."""


class Files:
    """A checkpoint is one file."""

    suffix = ".pt"

    def write(self, folder: Path, stem: str, held: Any) -> str:
        """Name of the file, which is on the disk when this returns; nothing is left where it fails."""
        aside = folder / f"{stem}.tmp"
        try:
            with _Hashing(aside) as file:
                torch.save(held, file)
                name = f"{stem}-{half(file.sha256)}{Files.suffix}"
                settle(file, folder / name)
        except RuntimeError as error:  # torch's own, raised over the reason because it cannot end what it began
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise
        finally:
            aside.unlink(missing_ok=True)
        return name

    def opened(self, path: Path) -> Any:
        """What a file holds, on the processor.

        Raises Unusable where its hash is not that in its name.
        """
        try:
            if sha256(path) != path.stem.rsplit("-", 1)[1]:
                raise Unusable(f"{path} is damaged")
            return torch.load(path, map_location="cpu", weights_only=True)
        except OSError as error:
            raise Unusable(f"{path} cannot be read ({error.strerror})") from error

    def filled(self, saved: dict[str, Any]) -> Any:
        """The state that an opened checkpoint holds."""
        return saved["state"]

    def forget(self, path: Path) -> None:
        """Take a file away."""
        path.unlink()


class Checkpoints:
    """Those of one training, in a folder of their own.

    key        hash of what the training begins with and follows: one with another key is not used
    every      seconds between two; None: so many that saving takes at most MOST_SHARE of the time; 0: none is written
    files      how a state is written, `Files` where not given; the best weights are always one file
    """

    def __init__(self, folder: Path, key: str, every: float | None, weights_bytes: int, files: Any = None):
        self._folder, self._key, self._every, self._files = folder, key, every, files or Files()
        self._cost_s, self._last = COPIES * weights_bytes / DISK_RATE, time.monotonic()
        self._whole: list[tuple[str, str | None]] = []  # on the disk, oldest first: a checkpoint, the best weights that it names
        self._best: tuple[int, str] | None = None  # step and name of the best weights that are on the disk

    def latest(self) -> dict[str, Any] | None:
        """What the newest usable checkpoint holds: "step", "state", "run" and "best", the best weights; None where there is none.

        One that is damaged or of another training is named on standard error, quiet or not, and passed over.
        """
        there = sorted(self._folder.glob(f"step-*{self._files.suffix}"), key=_step, reverse=True)
        for path in there:
            try:
                held = self._files.opened(path)
                if held["key"] != self._key:
                    raise Unusable(f"{path} is of another training")
                name = held["best"]
                found = {**held, "step": _step(path), "best": Files().opened(self._folder / name) if name else None}
            except Unusable as error:
                say(f"penjing: {error}: it is not used")
                continue
            self._whole, self._best = [(path.name, name)], (_step(Path(name)), name) if name else None
            return found
        if there:
            say("penjing: no checkpoint is left that can be used: the training begins anew")
        return None

    def due(self, asked: bool = False) -> bool:
        """Whether to save now: enough time has passed, or the run is asked to stop."""
        if self._every == 0:
            return False
        pause = self._cost_s * (1 - MOST_SHARE) / MOST_SHARE
        return asked or time.monotonic() - self._last >= (max(FIRST_S, pause) if self._every is None else self._every)

    def save(self, step: int, state: dict[str, Any], run: dict[str, Any], best: tuple[int, dict[str, Tensor] | None]) -> None:
        """Write a checkpoint; when this returns it is on the disk.

        run     plain values
        best    the step after which the weights did best, and these; None while the tune rows have not been measured

        Raises OptionError where the disk is full; what was there stays.
        """
        started = time.monotonic()
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            best_step, weights = best
            if weights and (self._best is None or self._best[0] != best_step):
                self._best = best_step, Files().write(self._folder, f"best-{best_step}", weights)
            name = self._best[1] if self._best else None
            held = {"key": self._key, "state": state, "run": run, "best": name}
            self._whole = [*self._whole, (self._files.write(self._folder, f"step-{step}", held), name)][-KEPT:]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise self._full(step, num_bytes(state) + num_bytes(best[1])) from error
        wanted = {name for pair in self._whole for name in pair}
        for path in self._folder.iterdir():
            if path.name.startswith(("step-", "best-")) and path.name not in wanted:
                self._files.forget(path)
        self._last = time.monotonic()
        self._cost_s = self._last - started

    def outlook(self) -> str:
        """What the same command will do."""
        return f"goes on after step {_step(Path(self._whole[-1][0]))}" if self._whole else "begins anew"

    def _full(self, step: int, size: int) -> OptionError:
        free = shutil.disk_usage(self._folder).free
        return OptionError(
            f"{self._folder}: the disk is full, the checkpoint of step {step} cannot be written",
            wanted=f"{size / 2**20:,.0f} MiB; {free / 2**20:,.0f} MiB are free",
            fix=f"make room and give the same command again: it {self.outlook()}; --checkpoint-every 0 writes none",
        )


def training_key(learner: Learner, encoded: Encoded | Packed, options: Training, runtime: Runtime, repeats: int) -> str:
    """Hash of what a training begins with and follows: its weights, the lengths of its rows, its options."""
    plain = dataclasses.replace(
        options, checkpoint_every=None, tensorboard=None, ranks=place_of_rank()[1]
    )  # torchrun may have started them
    follows = plain, runtime.seed, repeats, sorted(learner.rates.items())
    whole = hashlib.sha256(repr(follows).encode() + encoded.lengths.tobytes())
    for name, value in learner.model.state_dict().items():
        whole.update(name.encode() + str(value.dtype).encode())
        whole.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return whole.hexdigest()


def num_bytes(held: Any) -> int:
    """Size of the tensors in nested dicts and lists."""
    if isinstance(held, Tensor):
        return held.nbytes
    return sum(map(num_bytes, held.values() if isinstance(held, dict) else held)) if isinstance(held, dict | list | tuple) else 0


class _Hashing(io.BufferedWriter):
    """A file that hashes what is written to it, from its beginning to its end."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path, "w"))
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return super().write(data)


def sha256(path: Path) -> str:
    """The hash of a file, as names have it."""
    with path.open("rb") as file:
        return half(hashlib.file_digest(file, "sha256"))


def half(digest: Any) -> str:
    """Of a hash, enough for a name."""
    return digest.hexdigest()[:32]


def _step(path: Path) -> int:
    return int(path.stem.split("-")[1])
