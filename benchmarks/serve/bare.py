"""The engine of a model called in a loop, with nothing around it: what a server is measured against.

    python benchmarks/serve/bare.py MODEL TEXTS.csv THREADS

A line of JSON when it is ready, {"ready_s", "memory_bytes"}: from the first line of this file, with imports, load and an answer.
For each line "throughput SECONDS" on standard input one with {"rate": rows a second, "batch_rows", "memory_bytes"}, batches made before and
sorted by length, of the size that does best here; for "single SECONDS" one with {"p50_ms", "p99_ms"} of single texts, from the text to its
answer.
"""

import time

BEGUN = time.perf_counter()

import csv  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from typing import Any  # noqa: E402

import numpy  # noqa: E402

from penjing.core.collate import ROW  # noqa: E402
from penjing.core.contracts import Batch  # noqa: E402
from penjing.core.model_dir import ModelDir  # noqa: E402
from penjing.core.runtime import Runtime, resident_bytes  # noqa: E402
from penjing.engine import load  # noqa: E402
from penjing.engine.backends import open_backend  # noqa: E402

SIZES = (8, 16, 32, 64)
TRIAL_S = 1.0


def main() -> None:
    """Answer the lines of standard input."""
    path, table, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    base, runtime = ModelDir.open(path), Runtime(threads=threads, quiet=True)
    task = load.task_for(base)
    processor, backend = load.load_processor(base, task), open_backend(base, task, runtime, threads=threads)
    with open(table, encoding="utf-8") as file:  # noqa: PTH123
        texts = [row["text"] for row in csv.DictReader(file)]

    def batch(rows: Sequence[dict[str, Any]]) -> Batch:
        return task.collate([{**entry, ROW: i} for i, entry in enumerate(rows)], processor)

    def encoded(text: str) -> dict[str, Any]:
        found = task.encode({"text": text}, processor)
        assert isinstance(found, dict)
        return found

    def throughput(seconds: float, batches: Sequence[Batch]) -> float:
        done, start = 0, time.perf_counter()
        for each in itertools.cycle(batches):
            backend(**each.inputs)
            done += len(each.rows)
            if (taken := time.perf_counter() - start) > seconds:
                return done / taken
        raise AssertionError

    def times(seconds: float) -> Iterator[float]:
        end = time.perf_counter() + seconds
        for text in itertools.cycle(random.Random(0).sample(texts, len(texts))):
            if (start := time.perf_counter()) > end:
                return
            task.predict(backend, batch([encoded(text)]), processor)
            yield time.perf_counter() - start

    next(times(1.0))
    tell(ready_s=time.perf_counter() - BEGUN, memory_bytes=resident_bytes())
    rows = sorted(map(encoded, texts), key=task.length)
    made = {size: [batch(rows[start : start + size]) for start in range(0, len(rows), size)] for size in SIZES}
    for batches in made.values():
        random.Random(0).shuffle(batches)
        throughput(TRIAL_S / 2, batches)
    best = max(SIZES, key=lambda size: throughput(TRIAL_S, made[size]))
    for line in sys.stdin:
        what, seconds = line.split()
        if what == "single":
            median, late = (1000 * numpy.percentile(list(times(float(seconds))), [50, 99])).tolist()
            tell(p50_ms=median, p99_ms=late)
        else:
            tell(rate=throughput(float(seconds), made[best]), batch_rows=best, memory_bytes=resident_bytes())


def tell(**facts: float) -> None:
    """A line of JSON."""
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
