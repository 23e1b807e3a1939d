"""Few labels: a tenth of those of the training rows, with and without augmentation, and with the other rows as unlabelled ones.

    python benchmarks/scarce.py --data FOLDER_OF_DATA_SETS [--sets sst2,fsdd,cifar10] [--seeds N] [--out FOLDER] [--threads N] [--tune]

Each seed draws its own tenth. Settings were chosen on the validation rows only (--tune measures there); the test rows are opened by
evaluate, once a training. Training of every kind takes the same options; only what is compared differs.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
from common import conditions, table
from pyarrow import parquet
from scipy import stats

import penjing
from penjing.core.data import Data, DataOptions
from penjing.core.examples import Examples
from penjing.core.find import find
from penjing.core.media import Media

SHARE = 0.1
UNLABELLED = "unlabelled.parquet"
SETS: dict[str, dict[str, Any]] = {
    "sst2": {
        "model": "new:lstm-mini", "task": "text-classification", "columns": None, "most": 100_000, "augment": ["word-noise", "typos"],
        "training": {"epochs": 15, "learning_rate": 2e-3, "batch_rows": 32}, "consistency": {"epochs": 4},
    },
    "fsdd": {
        "model": "new:cnn-mini", "task": "audio-classification", "columns": ["label=digit"], "most": 100_000,
        "augment": ["time-shift", "white-noise"],
        "training": {"epochs": 40, "learning_rate": 3e-3, "batch_rows": 32}, "consistency": {"epochs": 10, "batch_rows": 64},
    },
    "cifar10": {
        "model": "new:cnn-mini", "task": "image-classification", "columns": None, "most": 10_000, "augment": ["crop", "flip"],
        "training": {"epochs": 30, "learning_rate": 3e-3, "batch_rows": 64}, "consistency": {"epochs": 10},
    },
}  # fmt: skip


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/, fsdd/ and cifar10/")
    parser.add_argument("--sets", default=",".join(SETS), help="which of them")
    parser.add_argument("--seeds", type=int, default=5, help="how many tenths are drawn")
    parser.add_argument("--out", type=Path, help="where to leave rows and models; a temporary folder if not given")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for the fastest here")
    parser.add_argument("--tune", action="store_true", help="measure on the validation rows, to choose settings")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        parts = [section(name, given.data / name, out / name, given) for name in given.sets.split(",")]
        print("\n\n".join(["## scarce", conditions(), *parts]))


def section(name: str, source: Path, folder: Path, given: argparse.Namespace) -> str:
    """Every kind of training with every seed, and what each gains over the plain one."""
    chosen = SETS[name]
    found: dict[str, list[float]] = {kind: [] for kind in kinds(chosen, folder)}
    counts = {}
    for seed in range(given.seeds):
        rows = folder / f"rows-{seed}"
        counts = write(source, chosen, seed, rows)
        for kind, words in kinds(chosen, rows).items():
            runtime = penjing.Runtime(seed=seed, threads=given.threads)
            out = folder / f"{kind.replace(' ', '-')}-{seed}"
            words |= {"task": chosen["task"], "out": out, "runtime": runtime, "overwrite": True}
            _, report = penjing.finetune(chosen["model"], rows / "labelled", **words)
            if not given.tune:
                report = penjing.evaluate(out, rows / "labelled", runtime=runtime, rows="proof")
            found[kind].append(report.after["accuracy"].value)
            print(name, seed, kind, f"{found[kind][-1]:.4f}", file=sys.stderr, flush=True)
    role = "validation" if given.tune else "test"
    head = ["training", f"accuracy on the {role} rows, mean of {given.seeds} seeds", "gain in points, 95 % interval", "each seed"]
    about = f"{counts['train']:,} labelled rows, {counts['unlabelled']:,} without, {counts[role]:,} {role} rows; {chosen['model']}."
    return f"### {name}\n\n{about}\n\n" + table(head, [line(kind, values, found["plain"]) for kind, values in found.items()])


def kinds(chosen: Mapping[str, Any], rows: Path) -> dict[str, dict[str, Any]]:
    """What is compared: the words of `finetune` for each."""
    augment, unlabelled = {"augment": chosen["augment"]}, {"unlabelled": rows / UNLABELLED}
    consistent = {**augment, **unlabelled, "semi": "consistency", **chosen["consistency"]}
    added = {"plain": {}, "augmented": augment, "pseudo-labels": unlabelled, "both": {**augment, **unlabelled}, "consistency": consistent}
    return {kind: {**chosen["training"], **words} for kind, words in added.items()}


def line(kind: str, values: Sequence[float], plain: Sequence[float]) -> list[str]:
    """One kind of training; differences are paired by seed, that is by the tenth it learnt from."""
    gains = [100 * (a - b) for a, b in zip(values, plain)]
    gained = ""
    if kind != "plain":
        half = stats.sem(gains) * stats.t.ppf(0.975, len(gains) - 1) if len(gains) > 1 else float("nan")
        gained = f"{statistics.mean(gains):+.2f} ({statistics.mean(gains) - half:+.2f} to {statistics.mean(gains) + half:+.2f})"
    return [kind, f"{statistics.mean(values):.2%}", gained, "; ".join(f"{value:.2%}" for value in values)]


def write(source: Path, chosen: Mapping[str, Any], seed: int, folder: Path) -> dict[str, int]:
    """A folder of labelled rows in three splits and a file of the others without labels; how many rows each holds."""
    task = find("tasks", chosen["task"]).TASK
    data = Data.open(source, DataOptions(columns=chosen["columns"]), task)
    (folder / "labelled").mkdir(parents=True, exist_ok=True)
    train = data.role("train", chosen["most"])
    train = train.take(numpy.random.default_rng(seed).permutation(len(train)))
    few = round(SHARE * len(train))
    inputs, every = list(task.input_columns()), list(task.columns)
    splits = {"train": train[:few], "validation": data.role("tune"), "test": data.role("proof")}
    for name, rows in splits.items():
        parquet.write_table(_table(rows, every), folder / "labelled" / f"{name}.parquet")
    parquet.write_table(_table(train[few:], inputs), folder / UNLABELLED)
    return {**{name: len(rows) for name, rows in splits.items()}, "unlabelled": len(train) - few}


def _table(rows: Examples, columns: Sequence[str]) -> pyarrow.Table:
    cells = [[row[name].bytes() if isinstance(row[name], Media) else row[name] for name in columns] for row in rows.only(columns)]
    return pyarrow.table([list(values) for values in zip(*cells)], list(columns))


if __name__ == "__main__":
    main()
