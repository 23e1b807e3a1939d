"""Explanations: how long one takes, whether its scores add up, and whether small models keep the reasons of large ones.

    python benchmarks/reasons.py --data FOLDER_OF_DATA_SETS --out FOLDER --text FOLDER_OF_TEXT [--threads N]

The parents of SST-2 are sst2-0 and sst2-1, two trainings of MiniLM that benchmarks/text.py leaves in its --out; those of the digits are
trained here. Each has a child with half of its blocks or channels. The noise floor is the second training.
"""

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

from common import conditions, table

import penjing
from penjing.core.report import Measure

ROUNDS, TOKENS = 5, 128


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--out", type=Path, required=True, help="where models are left")
    parser.add_argument("--text", type=Path, required=True, help="the --out of benchmarks/text.py, with sst2-0 and sst2-1")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    given = parser.parse_args()
    runtime = penjing.Runtime(threads=given.threads)
    parents = {"sst2": [given.text / f"sst2-{seed}" for seed in (0, 1)], "digits": [given.out / f"digits-{seed}" for seed in (0, 1)]}
    for seed, out in enumerate(parents["digits"]):
        seeded = penjing.Runtime(threads=given.threads, seed=seed)
        words: dict[str, Any] = {"task": "image-classification", "epochs": 20, "learning_rate": 3e-3, "batch_rows": 64}
        penjing.finetune("new:resnet-mini", "sklearn:digits", out=out, runtime=seeded, **words)
    pruned = {"sst2": {"method": "layers", "epochs": 2}, "digits": {"method": "channels", "epochs": 10}}
    rows = []
    for name, (parent, again) in parents.items():
        data = given.data / name if name == "sst2" else "sklearn:digits"
        child, _ = penjing.prune(parent, data, out=given.out / f"{name}-half", runtime=runtime, keep_share=0.5, **pruned[name])
        rows.append(kept(name, parent, child.path, again, data, runtime))
    seconds, gap = timed(parents["sst2"][0], given.data / "sst2", runtime)
    head = [
        "data",
        "rows",
        "accuracy",
        "answers changed",
        "divergence, nats",
        "rank correlation",
        "of two trainings",
        "top five shared",
        "of two",
    ]
    said = f"A text of {TOKENS} tokens by integrated gradients: {seconds} of {ROUNDS} rounds, {gap}."
    print("\n\n".join(["## reasons", conditions(), table(head, rows), said]))


def kept(name: str, parent: Path, child: Path, again: Path, data: Path | str, runtime: penjing.Runtime) -> list[str]:
    """A row of the table: a child with half of its parent's blocks or channels, on tune rows."""
    report = penjing.compare(parent, data, child=child, rows="tune", reasons=True, noise_floor=again, runtime=runtime)
    found, floor = report.facts["reasons"], report.facts["reasons"]["floor"]
    accuracy = f"{report.before['accuracy'].value:.1%} → {report.after['accuracy'].value:.1%}"
    flips = f"{report.facts['flips']['share'].value:.1%}"
    agreements = [number(each[key]) for key in ("correlation", "overlap") for each in (found, floor)]
    return [name, str(found["n"]), accuracy, flips, number(report.facts["divergence"]), *agreements]


def timed(model: Path, data: Path, runtime: penjing.Runtime) -> tuple[str, str]:
    """Seconds that a method takes for a text of TOKENS tokens, and the largest share by which scores missed the change."""
    from penjing.core.find import find
    from penjing.core.model_dir import ModelDir
    from penjing.engine import load
    from penjing.engine.asked import asked, row
    from penjing.engine.threads import torch_threads
    from penjing.maths.faithfulness import completeness_gap

    base = ModelDir.open(model)
    loaded = load.load(base, load.task_for(base), runtime)
    loaded.model.requires_grad_(False)
    method = find("methods.explain", "integrated-gradients")
    with (data / "train.csv").open(encoding="utf-8") as file:
        words = " ".join(line["text"] for line, _ in zip(csv.DictReader(file), range(100))).split()
    times, gaps = [], []
    with torch_threads(runtime.threads):
        for i in range(ROUNDS + 1):
            text = " ".join(words[40 * i : 40 * i + 200])
            ids = loaded.processor(text, truncation=True, max_length=TOKENS)["input_ids"]
            one = row(loaded.model, loaded.task, {"text": loaded.processor.decode(ids, skip_special_tokens=True)}, loaded.processor)
            start = time.perf_counter()
            seen = asked(loaded.model, loaded.task, one, loaded.processor)
            scores = method.apply(seen, method.Options()).numpy()
            times.append(time.perf_counter() - start)
            whole, nothing = (seen.answer(each).item() for each in (seen.seen, seen.nothing))
            gaps.append(completeness_gap(scores, whole, nothing))
    used = times[1:]  # the first warms up
    median = statistics.median(used)
    return f"{median:.2f} s ({min(used):.2f}-{max(used):.2f}), the median", f"scores miss the change by {max(gaps):.2%} at most"


def number(measure: Measure) -> str:
    """A number with its 95 % interval."""
    return f"{measure.value:.2f} ({measure.low:.2f}-{measure.high:.2f})"


if __name__ == "__main__":
    main()
