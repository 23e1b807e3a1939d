"""How fast a csv is read beside pyarrow alone, and how long a training step waits for its rows.

python benchmarks/reader.py [--file FILE.csv] [--model MODEL] [--rounds 5]
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.csv
import reviews
from common import conditions, table

from penjing.core.content import content
from penjing.core.examples import Examples, read
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.readers import delimited
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import create, load
from penjing.engine.batches import Encoded
from penjing.engine.train import State, train
from penjing.methods.finetune import whole

USUAL_BYTES = 100_000_000  # of the file that is made where none is given: more rows than are encoded before training begins
STEPS, WARM = 250, 50  # of 50 steps each pool is made; the first are not counted


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, help="a csv with the columns text and label; made where not given")
    parser.add_argument("--model", default="new:bert-tiny", help="what is trained: new:<size>, or a directory of a text model")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PENJING_CACHE"] = temporary
        path = given.file or Path(temporary) / "reviews.csv"
        if not given.file:
            reviews.write(path, USUAL_BYTES)
        rows, speed = reading(path, given.rounds)
        opening = opened(path)
        waited = waiting(read(path), given.model)
    size = f"{rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB" if given.file else f"{rows:,} rows"
    print(f"## reading\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], [['file', size, ''], *speed, *opening, *waited])}")


def reading(path: Path, rounds: int) -> tuple[int, list[list[str]]]:
    """Rows of the file; and rows a second of penjing's reader and of pyarrow's, in turn, with the median of their ratios."""
    readers: dict[str, Callable[[], int]] = {
        "penjing": lambda: sum(len(batch) for batch in delimited.batches(path, path.name, ",")),
        "pyarrow.csv.open_csv, batch by batch as penjing reads": lambda: sum(len(batch) for batch in pyarrow.csv.open_csv(path)),
        "pyarrow.csv.read_csv, the whole table in memory, all cores": lambda: len(pyarrow.csv.read_csv(path)),
    }
    taken: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, count in readers.items():
            start = time.perf_counter()
            rows = count()
            taken[name].append(time.perf_counter() - start)
    lines = [[name, f"{rows / statistics.median(seconds):,.0f} rows/s", ""] for name, seconds in taken.items()]
    for name in list(readers)[1:]:
        ratio = statistics.median(other / own for own, other in zip(taken["penjing"], taken[name]))
        lines.append([f"rate of penjing over {name.split(',')[0]}", f"{ratio:.2f}", "≥ 0.5" if "open" in name else ""])
    return rows, lines


def opened(path: Path) -> list[list[str]]:
    """Rows a second of all that is done when a file is seen for the first time."""
    lines = []
    for what, work in (("read, hashed and written as Arrow", lambda: read(path)), ("rows compared", lambda: content(read(path), ["text"]))):
        start = time.perf_counter()
        work()
        lines.append([f"first time: {what}", f"{len(read(path)) / (time.perf_counter() - start):,.0f} rows/s", ""])
    return lines


def waiting(rows: Examples, name: str) -> list[list[str]]:
    """Which share of its time a training step waits for the rows of the next, where rows are encoded as their turn comes."""
    kind, runtime = find("tasks", "text-classification").TASK, Runtime(quiet=True)
    rows = rows.require(kind.columns)
    task = kind(reviews.LABELS)
    if name.startswith(create.PREFIX):
        loaded = create.create(name.removeprefix(create.PREFIX), task, rows, runtime)
    else:
        loaded = load.load(ModelDir.open(name, runtime), task, runtime)
    encoded = Encoded(rows, task, loaded.processor)
    state = State(whole(loaded.model), encoded, Training(epochs=1), runtime)
    steps = [step for step, _ in zip(train(state, task.loss), range(STEPS))][WARM:]
    share = sum(step.waited for step in steps) / sum(step.seconds for step in steps)
    milliseconds = 1000 * statistics.median(step.seconds for step in steps)
    read_when = "before training" if encoded.known else "as their turn comes"
    return [
        [f"share of a step of {Path(name).name} that waits for rows, encoded {read_when}", f"{share:.2%} of {milliseconds:.0f} ms", "< 2 %"]
    ]


if __name__ == "__main__":
    main()
