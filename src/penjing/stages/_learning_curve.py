"""How many rows a finetuning needs: some short trainings on parts of the train rows, and the power law that their errors follow."""

import dataclasses
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from penjing.core.errors import DataError
from penjing.core.progress import say
from penjing.core.runtime import Runtime
from penjing.maths import learning_curve
from penjing.stages import _frame, finetune

BUDGET_S = 120.0  # of all trainings; what is under way is ended
SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1)  # of the train rows, each as long as the budget has room for it
FEWEST_ROWS = 32  # of a training: with fewer its error is that of a guess
RUNS = 3  # of each size, each with rows and draws of its own
LEVEL = 0.9  # of the interval
MOST_ROWS = 1e12  # beyond which no number of rows is enough


def rows_needed(model: str, data: str, words: dict[str, Any], aim: float | None, runtime: Runtime) -> dict[str, Any]:
    """Facts of a plan: errors after parts of the rows, the law, what twice the rows would bring, and how many rows an aim needs;
    None where no number is enough.

    words   options of finetune
    aim     a quality in [0, 1]; None for none

    Raises DataError where the rows are too few for three sizes, or their quality is no share.
    """
    call = _frame.prepare("finetune", model, data, words, runtime)
    train, tune = call.data.role("train"), call.data.role("tune")
    sizes = [rows for share in SHARES if (rows := int(share * len(train))) >= FEWEST_ROWS]
    if len(sizes) < learning_curve.FEWEST_SIZES:
        least = int(FEWEST_ROWS / SHARES[-learning_curve.FEWEST_SIZES])
        raise DataError(
            f"{train.name}: a learning curve of {len(train):,} train rows would be a guess", wanted=f"at least {least:,} train rows"
        )
    errors, began = dict[int, list[float]](), time.perf_counter()
    for rows in sizes:
        started = time.perf_counter()
        errors[rows] = [_error(call, train, tune, rows, runtime.seed + run) for run in range(RUNS)]
        spent, last = time.perf_counter() - began, time.perf_counter() - started
        say(f"{rows:,} rows: error {np.mean(errors[rows]):.3f} on the tune rows", runtime.quiet)
        if len(errors) >= learning_curve.FEWEST_SIZES and spent + 2 * last > BUDGET_S:
            break
    return {"metric": call.task.primary, "errors": errors, **told(errors, len(train), aim, runtime.seed)}


def told(errors: dict[int, list[float]], here: int, aim: float | None, seed: int) -> dict[str, Any]:
    """What a curve says: qualities after the rows that are there and twice as many, and rows for an aim, each with an interval."""
    rows = np.array([size for size, runs in errors.items() for _ in runs], float)
    law = learning_curve.fit(rows, np.concatenate([*errors.values()]))
    others = learning_curve.resampled(errors, seed=seed)
    ends = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)

    def quality(size: int) -> dict[str, float]:
        low, high = np.quantile([1 - other.error(size) for other in others], ends)
        return {"rows": size, "quality": 1 - law.error(size), "low": float(low), "high": float(high)}

    found: dict[str, Any] = {"law": law._asdict(), "now": quality(here), "twice": quality(2 * here)}
    if aim is not None:
        low, high = np.quantile([other.rows(1 - aim) for other in others], ends, method="inverted_cdf")
        least = {"rows": law.rows(1 - aim), "low": float(low), "high": float(high)}
        found["aim"] = {"quality": aim, **{name: rows if rows < MOST_ROWS else None for name, rows in least.items()}}
    return found


def _error(call: _frame.Call, train: Any, tune: Any, rows: int, seed: int) -> float:
    """Of a model that learnt from so many rows that are drawn, on the tune rows."""
    drawn = np.sort(np.random.default_rng(seed).permutation(len(train))[:rows])
    runtime = dataclasses.replace(call.runtime, seed=seed, quiet=True)
    folder = Path(tempfile.mkdtemp())
    try:
        _, learnt = finetune.train_once(call.base, call.task, train.take(drawn), tune, call.options, runtime, folder)
    finally:
        shutil.rmtree(folder)
    best: float = max(point["tune"] for point in learnt["curve"])
    if not 0 <= best <= 1:
        raise DataError(f"{train.name}: {call.task.primary} is no share in [0, 1], of which a power law tells", wanted="labels")
    return 1 - best
