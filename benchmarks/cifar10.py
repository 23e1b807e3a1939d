"""A convolutional network on CIFAR-10 from nothing: accuracy against minutes on this processor.

    python benchmarks/cifar10.py --data FOLDER_OF_DATA_SETS [--epochs N] [--threads N]

The last 5,000 training rows are the tune rows; settings were chosen on them. The test rows are opened once, in the end, as they are and
with the outputs for each picture and its mirror image averaged.
"""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import torch
from common import conditions, table
from pyarrow import parquet

import penjing
from penjing.core.data import Data, DataOptions
from penjing.core.model_dir import ModelDir
from penjing.engine import load
from penjing.engine.batches import Encoded, measuring_batches
from penjing.maths.intervals import wilson

TUNE_ROWS = 5000
MODEL, TASK = "new:cnn-base", "image-classification"
WORDS = {"optimizer": "muon", "learning_rate": 1e-2, "weight_decay": 0.1, "batch_rows": 256, "augment": ["crop", "flip"]}


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds cifar10/")
    parser.add_argument("--epochs", type=float, default=18.0)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, runtime = Path(temporary), penjing.Runtime(threads=given.threads)
        rows, out = split(given.data / "cifar10", folder / "rows"), folder / "model"
        _, report = penjing.finetune(MODEL, rows, task=TASK, epochs=given.epochs, out=out, runtime=runtime, **WORDS)
        lines = [*curve(report.facts["training"]["curve"], out / "metrics.jsonl"), *tested(out, rows, runtime)]
    print("\n\n".join(["## cifar10", conditions(), table(["what", "measured", "bar"], lines)]))


def split(source: Path, folder: Path) -> Path:
    """A folder with train, validation and test rows."""
    folder.mkdir()
    rows = parquet.read_table(source / "train.parquet")
    parquet.write_table(rows.slice(0, len(rows) - TUNE_ROWS), folder / "train.parquet")
    parquet.write_table(rows.slice(len(rows) - TUNE_ROWS), folder / "validation.parquet")
    shutil.copy(source / "test.parquet", folder)
    return folder


def curve(points: list[dict[str, float]], steps: Path) -> list[list[str]]:
    """Accuracy on the tune rows by minutes of training steps; measuring is left out."""
    told = [json.loads(line) for line in steps.read_text("utf-8").splitlines()]
    lines = []
    for point in points:
        seconds = sum(step["seconds"] for step in told if step["epoch"] <= point["epoch"] + 1e-3)
        lines.append([f"accuracy on the tune rows after {point['epoch']:g} epochs", f"{point['tune']:.2%}, {seconds / 60:.1f} min", ""])
    return lines


@torch.no_grad()
def tested(out: Path, rows: Path, runtime: penjing.Runtime) -> list[list[str]]:
    """Accuracy on the test rows."""
    base = ModelDir.open(out)
    task = load.task_for(base)
    loaded, examples = load.load(base, task, runtime), Data.open(rows, DataOptions(), type(task)).role("proof")
    encoded, right, right_averaged = Encoded(examples, task, loaded.processor), 0, 0
    for numbers in measuring_batches(encoded, 256, 256):
        batch = encoded.batch(numbers)
        pixels, labels = batch.inputs["pixel_values"], batch.targets["label"]
        plain, mirrored = (loaded.model(pixel_values=seen).logits for seen in (pixels, pixels.flip(-1)))
        right += int((plain.argmax(1) == labels).sum())
        right_averaged += int(((plain + mirrored).argmax(1) == labels).sum())
    said = [
        f"{found / len(examples):.2%} ({', '.join(f'{x:.1%}' for x in wilson(found, len(examples)))})" for found in (right, right_averaged)
    ]
    names = ("accuracy on the test rows", "with the outputs for mirror images averaged")
    return [[name, value, bar] for name, value, bar in zip(names, said, ("≥ 93 % within 25 minutes", "94 %"))]


if __name__ == "__main__":
    main()
