"""Spoken digits and noises of the surroundings, each learnt from nothing: accuracy on the official test and on the fold that is held out.

    python benchmarks/sound.py --data FOLDER_OF_DATA_SETS [--out FOLDER]

Settings were chosen on rows carved out of train only. The test rows and fold 4 are opened by evaluate, once a seed.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import conditions, interval, table

import penjing

SEEDS = (0, 1, 2)
THREADS = 2
SETS = {
    "fsdd": {
        "model": "new:cnn-mini", "bar": "≥ 97 % within 10 minutes on 2 cores", "data": {"columns": ["label=digit"]},
        "training": {"epochs": 10, "learning_rate": 2e-3, "batch_rows": 64},
    },
    "esc10": {
        "model": "new:cnn-tiny", "bar": "", "data": {"columns": ["label=label_name"], "groups": "freesound_id", "proof_where": "fold=4"},
        "training": {"epochs": 10, "learning_rate": 1e-3, "batch_rows": 16},
    },
}  # fmt: skip


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds fsdd/ and esc10/")
    parser.add_argument("--out", type=Path, help="where to leave the models; a temporary folder if not given")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        parts = [section(name, given.data / name, (given.out or Path(temporary)) / name) for name in SETS]
        print("\n\n".join(["## sound", conditions(), *parts]))


def section(name: str, data: Path, folder: Path) -> str:
    """Train with each seed, measure on the proof rows."""
    made, tests = [], []
    chosen: dict[str, Any] = SETS[name]
    for seed in SEEDS:
        runtime, out = penjing.Runtime(seed=seed, threads=THREADS), folder / str(seed)
        words = {**chosen["data"], **chosen["training"]}
        _, report = penjing.finetune(chosen["model"], data, task="audio-classification", out=out, overwrite=True, runtime=runtime, **words)
        made.append(report)
        tests.append(penjing.evaluate(out, data, runtime=runtime, rows="proof", **chosen["data"]))
    return f"### {name}\n\n" + table(["what", "measured", "bar"], rows(chosen, made, tests))


def rows(chosen: dict[str, Any], made: list[Any], tests: list[Any]) -> list[list[str]]:
    """The figures beside their bars."""
    accuracies = [report.after["accuracy"] for report in tests]
    baseline = tests[0].baseline
    seconds = [report.cost["seconds"] for report in made]
    tuned = "; ".join(f"{report.after['accuracy'].value:.2%}" for report in made)
    return [
        [
            f"{chosen['model']}, accuracy on the proof rows, mean of {len(tests)} seeds",
            f"{statistics.mean(m.value for m in accuracies):.2%}",
            chosen["bar"],
        ],
        ["each seed", "; ".join(map(interval, accuracies)), ""],
        ["each seed on tune rows", tuned, ""],
        [f"{baseline['name']} on means and deviations of mel bins, same rows", interval(baseline["measures"]["accuracy"]), ""],
        ["parameters, bytes", f"{made[0].facts['parameters']:,}, {made[0].model['bytes']:,}", ""],
        ["the whole finetune, each seed", "; ".join(f"{s:.0f} s" for s in seconds), ""],
    ]


if __name__ == "__main__":
    main()
