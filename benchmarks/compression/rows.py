"""Other parents and data shrunk with proof: one line of a table each, parent and child asked in turn.

    python benchmarks/compression/rows.py --data FOLDER_OF_DATA_SETS --out FOLDER [--only tags,hotel,...] [--chinese DIRECTORY]

Parents are trained as the lines of benchmarks/text.py and cifar10.py, or taken from FOLDER/NAME-parent where they are there already; each
card says by how much a parent is better than its linear model. Choices are made on validation rows; the proof opens the test rows. Of a
model that writes time is taken of tokens behind prompts, as many for each model; its floor is a share of the next tokens it tells.
"""

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # what all benchmarks share
import cifar10
from common import conditions, table
from text import LINES, MINILM

import penjing
from penjing.core.generation import Generation
from penjing.core.model_dir import ModelDir
from penjing.core.report import Measure
from penjing.engine import appraise, latency
from penjing.engine.backends import open_backend
from penjing.engine.batches import Encoded
from penjing.engine.load import load_processor
from penjing.stages._frame import prepare

LATENCY_THREADS, THROUGHPUT_THREADS = 1, 4
PROMPT, NEW, AT_ONCE = 40, 32, 32  # letters of what is gone on from, tokens behind it, prompts at once


@dataclass(frozen=True)
class Row:
    """A parent, what its child may lose, how candidates are trained, and what is aimed at: bytes, latency, throughput.

    parent   a line of benchmarks/text.py, or "cifar10"
    """

    parent: str
    floor: str
    words: dict[str, Any]
    aims: tuple[str, str, str]


BUDGET = {"budget": "20m", "candidates": 2}
MUON = {"optimizer": "muon", "learning_rate": 1e-3}
STUDENT = {  # a step of muon takes as long as the passes of 32 rows, whatever the batch
    **BUDGET, **MUON, "batch_rows": 64, "candidates": 1, "epochs": 24, "recovery": "hidden", "dropout": 0.0, "embedding_bits": 4,
}  # fmt: skip
ROWS = {
    "tags": Row("ewt", "1.0", {**STUDENT, "max_bytes": "11.4MB", "max_latency": "24%"}, ("≥ 8×", "≥ 6×", "≥ 5×")),
    "hotel": Row("hotel", "3.0", {**STUDENT, "max_latency": "18%"}, ("≥ 10×", "≥ 6×", "≥ 5×")),
    "cifar10": Row(
        "cifar10", "1.0", {**BUDGET, **cifar10.WORDS, "candidates": 1, "epochs": 12, "max_bytes": "0.78MB"}, ("≥ 10×", "≥ 6×", "≥ 6×")
    ),
    "ptb": Row("ptb", "3%", {**BUDGET, **MUON, "learning_rate": 5e-3, "epochs": 6, "batch_rows": 16}, ("≥ 6×", "≥ 3×", "≥ 3×")),
}


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds ud_english_ewt/ and the others")
    parser.add_argument("--out", type=Path, required=True, help="where models are left")
    parser.add_argument("--only", default=",".join(ROWS), help="which rows")
    parser.add_argument("--chinese", type=Path, help="the encoder that benchmarks/chinese.py has left")
    given = parser.parse_args()
    lines = [measured(name, given) for name in given.only.split(",")]
    head = ["parent, data", "floor", "parent", "child", "baseline", "loss, at most", "bytes", "1 row, 1 thread", "32 rows, 4 threads"]
    print("\n\n".join(["## compression: other parents", conditions(), table([*head, "against bf16", "minutes"], lines)]))


def measured(name: str, given: argparse.Namespace) -> list[str]:
    """A line of the table."""
    row, out = ROWS[name], given.out / f"{name}-small"
    parent, data, words = made(name, given)
    _, report = penjing.shrink(parent, data, out=out, floor=row.floor, **words, **row.words)
    half, _ = penjing.quantize(parent, data, method="bf16", out=given.out / f"{name}-bf16", **words)
    call = prepare("compare", parent, data, {"child": out, "rows": "tune", **words}, penjing.Runtime(quiet=True))
    bases, tune = [call.base, half, ModelDir.open(out)], call.data.role("tune")
    if call.task.generates:
        one, many = (writing(bases, call, *how) for how in ((LATENCY_THREADS, 1), (THROUGHPUT_THREADS, AT_ONCE)))
        ones = [taken.median.value for taken in one]
    else:
        many = appraise.throughput(bases, call.task, tune, call.runtime, THROUGHPUT_THREADS)
        times, _ = appraise.compare_latency(bases, call.task, tune, call.runtime, LATENCY_THREADS)
        ones = [found["latency_ms"].value for found in times]
    proof, metric = report.facts["proof"], report.facts["metric"]
    linear = report.baseline["measures"][metric] if report.baseline else None
    told = [report.before[metric], report.after[metric], *([linear] if linear else [])]
    more = [f"; perplexity {shown(found['perplexity'])}" if "perplexity" in found else "" for found in (report.before, report.after)]
    sizes, batch = [base.bytes() for base in bases], latency.ratio(many[0], many[-1])
    return [
        f"{name}: {report.facts['chosen']}", row.floor,
        *(shown(measure) + also for measure, also in zip(told, [*more, ""])), *([""] if linear is None else []),
        f"{proof['loss']:.2f}, {proof['upper']:.2f} on {proof['n']}: {'proven' if proof['passed'] else 'not proven'}",
        f"{sizes[0] / sizes[-1]:.1f}× ({row.aims[0]})",
        f"{ones[0]:.2f} → {ones[-1]:.2f} ms: {ones[0] / ones[-1]:.1f}× ({row.aims[1]})",
        f"{batch.value:.1f}× ({batch.low:.1f}-{batch.high:.1f}; {row.aims[2]})",
        f"{ones[1] / ones[-1]:.1f}×, {latency.ratio(many[1], many[-1]).value:.1f}×",
        f"{report.cost['seconds'] / 60:.0f}",
    ]  # fmt: skip


def writing(bases: list[ModelDir], call: Any, threads: int, rows: int) -> list[latency.Latency]:
    """Milliseconds for NEW tokens behind each of `rows` prompts at once, of models asked in turn."""
    tune = call.data.role("tune")
    prompts = [{"prompt": call.task.texts(tune[number])[0][:PROMPT]} for number in range(min(len(tune), 8 * rows))]
    asked, encoded = [], []
    for base in bases:
        backend = open_backend(base, call.task, call.runtime, threads, Generation(max_new_tokens=NEW))
        backend.model.generation_config.eos_token_id = None  # so that each writes as many  # type: ignore[union-attr]
        encoded.append(Encoded(prompts, call.task, load_processor(base, call.task), labelled=False))
        asked.append(partial(call.task.predict, backend, processor=encoded[-1].processor))
    sets = [list(range(start, start + rows)) for start in range(0, len(prompts) - rows + 1, rows)]
    return latency.interleaved(asked, [[part.batch(each) for part in encoded] for each in sets], appraise.ROUNDS)


def made(name: str, given: argparse.Namespace) -> tuple[Path, Path, dict[str, Any]]:
    """The parent's directory, its rows, and how they are read."""
    row, out = ROWS[name], given.out / f"{name}-parent"
    if row.parent == "cifar10":
        folder = given.out / "cifar10-rows"
        rows = folder if folder.exists() else cifar10.split(given.data / "cifar10", folder)
        if not out.exists():
            penjing.finetune(cifar10.MODEL, rows, task=cifar10.TASK, epochs=18.0, out=out, **cifar10.WORDS)
        return out, rows, {}
    line = LINES[row.parent]
    words: dict[str, Any] = {"columns": list(line.columns)} if line.columns else {}
    model = {"minilm": MINILM, "chinese": given.chinese}.get(line.model, line.model)
    if not out.exists():
        getattr(penjing, line.stage)(model, given.data / line.data, out=out, task=line.task, **words, **line.options)
    return out, given.data / line.data, words


def shown(measure: Measure) -> str:
    """A number with its interval; a share as one."""
    if measure.value > 1:
        return f"{measure.value:.2f} ({measure.low:.2f}-{measure.high:.2f})"
    return f"{measure.value:.2%} ({measure.low:.1%}-{measure.high:.1%})"


if __name__ == "__main__":
    main()
