"""Train, measure on the tune rows as it goes, keep the best: what finetune, distill and the recovery after prune share."""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch

from penjing.core.contracts import Example
from penjing.core.progress import progress, say
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded
from penjing.engine.measure import answer
from penjing.engine.threads import choose_threads
from penjing.engine.train import Loss, State, train

MOST_MEASUREMENTS = 20


def fit(
    loaded: Loaded, loss: Loss, train_rows: Sequence[Example], tune_rows: Sequence[Example], options: Training, runtime: Runtime,
    repeats: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """Train `loaded.model` in place and leave it with the weights that did best on the tune rows.

    repeats   how many times a batch holds its rows, as `loss` wants them

    Returns the facts of the run for the report: curve, best epoch, precision, threads, seconds.
    """
    task, processor = loaded.task, loaded.processor
    encoded = Encoded(train_rows, task, processor, quiet=runtime.quiet)
    tuning = Encoded(tune_rows, task, processor)
    state = State(loaded.model, encoded, options, runtime, repeats)
    threads = choose_threads(state, loss)
    torch.set_num_threads(threads)
    say(f"training on {len(encoded):,} rows, {state.steps:,} steps, {state.precision}, {threads} threads", runtime.quiet)
    curve: list[dict[str, float]] = []
    best: tuple[float, dict[str, torch.Tensor]] | None = None
    started, sum_loss, num_steps, waited = time.perf_counter(), 0.0, 0, 0
    every = max(1, round(options.epochs / MOST_MEASUREMENTS))
    with progress("training", state.steps, runtime.quiet) as shown:
        for step in train(state, loss):
            sum_loss, num_steps = sum_loss + step.loss, num_steps + 1
            shown.step(loss=step.loss, epoch=round(step.epoch, 2))
            last = step.number == state.steps
            if not last and not (step.epoch_ends and round(step.epoch) % every == 0):
                continue
            predictions = answer(TorchBackend(state.model), task, tuning)
            quality = task.score(predictions, tune_rows)[task.primary]
            curve.append({"epoch": round(step.epoch, 3), "loss": sum_loss / num_steps, "tune": quality})
            sum_loss, num_steps, waited = 0.0, 0, waited + 1
            if best is None or quality >= best[0]:
                best, waited = (quality, copy.deepcopy(state.model.state_dict())), 0
            if options.patience and waited >= options.patience:
                break
    if best:
        loaded.model.load_state_dict(best[1])
    loaded.model.eval()
    return {
        "curve": curve,
        "metric": task.primary,
        "best_epoch": max(curve, key=lambda point: (point["tune"], point["epoch"]))["epoch"] if curve else 0,
        "precision": state.precision,
        "threads": threads,
        "rows_at_limit": encoded.at_limit,
        "seconds": round(time.perf_counter() - started, 2),
    }
