"""What every benchmark says of itself: command, commit, machine, threads, rate of matrix products in that run, versions, date."""

import datetime
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from penjing.core.report import Measure, Report
from penjing.core.runtime import cores, processor, versions

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("torch", "transformers", "onnxruntime", "openvino", "scikit-learn")


def gemm_rate(size: int = 1024, rounds: int = 7) -> float:
    """GFLOP/s of fp32 products (size, size) with torch's present threads: what this machine could do during this run."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        a @ b
        taken.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(taken) / 1e9


def conditions() -> str:
    """One paragraph of Markdown that stands above a benchmark's table."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    machine, found = processor(), versions()
    command = shlex.join(["python", *(_bare(word) for word in sys.argv)])
    return (
        f"`{command}` at commit `{commit}`, {datetime.date.today()}. {machine['processor']}, {cores()} cores "
        f"({', '.join(machine['instructions'])}), {gemm_rate():.0f} GFLOP/s fp32 on {torch.get_num_threads()} threads during the run. "
        f"Python {found['python']}, " + ", ".join(f"{name} {found[name]}" for name in SHOWN if name in found) + "."
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def shrunk(report: Report, floor: str, num_bytes: str, latency: str) -> list[list[str]]:
    """Rows of a table for what shrink reports; the last three are the bars."""
    proof, speed, parent, child = report.facts["proof"], report.facts["latency"], report.before, report.after
    verdict = "proven" if proof["passed"] else "not proven"
    engines = [f"{m['latency_ms'].value:.3g} ms ({speed['engine'][who]})" for m, who in ((parent, "parent"), (child, "child"))]
    sizes = [m["bytes"].value for m in (parent, child)]
    return [
        ["child", report.facts["chosen"], ""],
        ["accuracy on the proof rows, parent and child", f"{interval(parent['accuracy'])} → {interval(child['accuracy'])}", ""],
        [
            "loss, and its upper bound (one-sided 95 %)",
            f"{proof['loss']:.2f}, {proof['upper']:.2f} points on {proof['n']} rows: {verdict}",
            floor,
        ],
        ["bytes", f"{sizes[0]:,} → {sizes[1]:,}: {sizes[0] / sizes[1]:.1f}× fewer", num_bytes],
        [
            "latency, batch 1, 1 thread",
            f"{' → '.join(engines)}: {speed['ratio']:.1f}× ({speed['low']:.1f}-{speed['high']:.1f}) lower",
            latency,
        ],
    ]


def interval(measure: Measure) -> str:
    """A share with its 95 % interval."""
    return f"{measure.value:.2%} ({measure.low:.1%}-{measure.high:.1%})"


def _bare(word: str) -> str:
    """A path as a reader can use it: of this repository, or its last part."""
    path = Path(word)
    if path.is_absolute():
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name.upper()
    return word if not word.startswith("..") else Path(word).name.upper()
