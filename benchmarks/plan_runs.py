"""Runs of this machine that plans are graded by: seconds a step and growth of resident memory, as rows of graded_runs.csv.

    python benchmarks/plan_runs.py --data FOLDER_OF_DATA_SETS [--threads 1] [--hardware NAME_OF_ITS_ROW]

Each run is a public command in a process of its own: an encoder finetuned, a GPT pretrained, a convolutional network, each with and
without checkpointing. Texts are so long that all are cut at the same length. Memory is the most that the process held in a step before it
first measured, less what it had after the same command for a tiny model, when all libraries were imported; from then on the system let it
have so much more and nothing above it (ulimit -d), as what a plan tells is what suffices. A step is the fastest of those after the second
of another process, which had no limit, as others can only slow them. The machine's row is printed first, like these the best of several.
"""

import argparse
import csv
import datetime
import gc
import json
import resource
import sys
import tempfile
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NamedTuple

import pyarrow.parquet
import torch

from penjing import cli
from penjing.core.runtime import mapped_bytes, resident_bytes
from penjing.core.tables import TABLES
from penjing.engine import measure, train
from penjing.engine.heap import give_back
from penjing.engine.machine import measure_here

EVERY_S = 0.005
WARM = 2
WORDS = 400  # of a text: more than any context here
TUNE_ROWS = 16


class Case(NamedTuple):
    """A command, what of it a plan has to know, and the bytes that it may have."""

    stage: str
    model: str
    data: str
    epochs: float
    length: int
    rows: int
    words: str
    image: str = ""
    spare: int = 5 << 28

    def commands(self) -> list[tuple[str, str]]:
        """Without and with checkpointing."""
        return [("none", self.words), ("full", f"{self.words} --gradient-checkpointing")]


CASES = (  # 7 to 10 steps each
    Case("finetune", "bert-small", "texts", 1, 128, 32, "--task text-classification --context 128 --batch-tokens 4096"),
    Case("pretrain", "gpt-small", "texts", 0.06, 256, 4, "--batch-rows 4 --batch-tokens 1024"),
    Case("finetune", "resnet-small", "images", 1, 1, 64, "--task image-classification --batch-rows 64", "32x32x3", 1 << 29),
)


def main() -> None:
    """Print the machine's row, then two for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds tinyshakespeare/ and cifar10/")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--hardware", default="HERE", help="name of the machine's row")
    given = parser.parse_args()
    machine = vars(measure_here(given.threads)) | {"name": given.hardware, "reached": "yes"}
    csv.writer(sys.stdout, lineterminator="\n").writerow(machine.values())
    with (TABLES / "graded_runs.csv").open(newline="", encoding="utf-8") as lines:
        columns = csv.DictReader(lines).fieldnames or []
    table = csv.DictWriter(sys.stdout, columns, restval="", lineterminator="\n")
    with tempfile.TemporaryDirectory() as folder:
        _write(given.data, Path(folder))
        for case in CASES:
            for number, (checkpointing, words) in enumerate(case.commands(), 1):
                out = Path(folder) / f"{case.model}-{checkpointing}"
                step_s, _ = _alone(case, words, given.threads, Path(folder), out, False)
                _, grown = _alone(case, words, given.threads, Path(folder), out.with_suffix(".held"), True)
                note = f"{given.threads} threads; memory of a process that may have {case.spare / 2**30:.3g} GiB more"
                table.writerow({
                    "name": f"penjing/{case.model}/{number}", "family": f"penjing-{case.model.split('-')[0]}", "model": f"new:{case.model}",
                    "stage": case.stage, "method": "full", "hardware": given.hardware, "ranks": 1, "tensor": 1, "pipeline": 1, "context": 1,
                    "interleaved": 1, "sharded": "none", "length": case.length, "image": case.image, "batch_rows": case.rows,
                    "part_rows": case.rows,
                    "precision": "fp32", "states": "fp32", "checkpointing": checkpointing, "attention": "scores", "kernels": "eager",
                    "loss": "chunked", "measure": "s/step", "value": round(step_s, 4), "memory_gib": round(grown, 3),
                    "memory_of": "resident", "note": note,
                    "source": "benchmarks/plan_runs.py", "date": f"{datetime.date.today():%Y-%m}",
                })  # fmt: skip
                sys.stdout.flush()


def _write(data: Path, folder: Path) -> None:
    """Texts of equal length with labels, and images; 8 batches of each, and a few rows to measure."""
    words = (data / "tinyshakespeare" / "train.txt").read_text("utf-8").split()
    texts = [" ".join(words[start : start + WORDS]) for start in range(0, len(words) - WORDS, WORDS)]
    images = pyarrow.parquet.read_table(data / "cifar10" / "train.parquet")
    start = 0
    for role, batches in (("train", 8), ("validation", 0), ("test", 0)):
        for kind, rows in (("texts", 32 * batches or TUNE_ROWS), ("images", 64 * batches or TUNE_ROWS)):
            (folder / kind).mkdir(exist_ok=True)
            if kind == "images":
                pyarrow.parquet.write_table(images.slice(2 * start, rows), folder / kind / f"{role}.parquet")
            else:
                with (folder / kind / f"{role}.csv").open("w", newline="", encoding="utf-8") as lines:
                    csv.writer(lines).writerows([("text", "label"), *((texts[start + i], i % 2) for i in range(rows))])
        start += 32 * batches or TUNE_ROWS


def _alone(*words: Any) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(_run, *words).result()


def _run(case: Case, words: str, threads: int, folder: Path, out: Path, held: bool) -> tuple[float, float]:
    """Seconds a step, and GiB by which the process grew; `held` to what the case may have or not."""
    torch.set_num_threads(threads)
    _command(case, f"{case.model.split('-')[0]}-tiny", words, threads, folder, out.with_name(f"{out.name}.tiny"))
    gc.collect()
    give_back()
    if held:
        resource.setrlimit(resource.RLIMIT_DATA, (mapped_bytes() + case.spare, resource.RLIM_INFINITY))
    before, peak, done, main = resident_bytes(), [0], threading.Event(), threading.get_ident()

    def watch() -> None:
        while not done.wait(EVERY_S):
            frame = sys._current_frames().get(main)
            if _runs(measure, frame):
                resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                return  # from now on the heap holds what that left
            if _runs(train, frame):
                peak[0] = max(peak[0], resident_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _command(case, case.model, words, threads, folder, out)
    finally:
        done.set()
        watcher.join()
    seconds = [step[1] for step in json.loads((out / "report.json").read_text("utf-8"))["facts"]["training"]["losses"]]
    return min(b - a for a, b in zip(seconds[WARM:], seconds[WARM + 1 :])), (peak[0] - before) / 2**30


def _runs(module: ModuleType, frame: FrameType | None) -> bool:
    """Whether a function of a module is under way."""
    while frame and frame.f_code.co_filename != module.__file__:
        frame = frame.f_back
    return frame is not None


def _command(case: Case, model: str, words: str, threads: int, folder: Path, out: Path) -> None:
    common = f"--epochs {case.epochs} --threads {threads} --precision fp32 --checkpoint-every 0 --quiet"
    status = cli.main([case.stage, f"new:{model}", str(folder / case.data), *words.split(), *common.split(), "--out", str(out)])
    if status:
        raise RuntimeError(f"{case}: exit status {status}")


if __name__ == "__main__":
    main()
