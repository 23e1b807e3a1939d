"""Train, measure on the tune rows as it goes, keep the best: what finetune, distill and the recovery after prune share."""

import copy
import time
from collections.abc import Sequence
from typing import Any

import torch

from penjing.core.contracts import Example, Task
from penjing.core.progress import progress, say
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded
from penjing.engine.measure import best_way
from penjing.engine.threads import choose_threads
from penjing.engine.train import Loss, State, train
from penjing.methods.finetune import Learner, whole

MOST_MEASUREMENTS = 20


def fit(
    loaded: Loaded, loss: Loss, train_rows: Sequence[Example], tune_rows: Sequence[Example], options: Training, runtime: Runtime,
    repeats: int = 1, learner: Learner | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train `loaded.model` and leave it with the weights that did best on the tune rows, in its own architecture.

    repeats   how many times a batch holds its rows, as `loss` wants them
    learner   what a method of finetune made of the model; where None, every weight learns

    Returns the facts of the run for the report: curve, best epoch, what learnt, precision, threads, seconds.
    """
    learner = learner or whole(loaded.model)
    task, processor = loaded.task, loaded.processor
    encoded = Encoded(train_rows, task, processor, quiet=runtime.quiet)
    tuning = Encoded(tune_rows, task, processor)
    state = State(learner, encoded, options, runtime, repeats)
    threads = choose_threads(state, loss)
    torch.set_num_threads(threads)
    learnt = num_learning(state)
    say(
        f"training {learnt:,} parameters on {len(encoded):,} rows, {state.steps:,} steps, {state.precision}, {threads} threads",
        runtime.quiet,
    )
    curve: list[dict[str, float]] = []
    best: tuple[float, dict[str, torch.Tensor], Task] | None = None
    started, sum_loss, num_steps, waited = time.perf_counter(), 0.0, 0, 0
    every = max(1, round(options.epochs / MOST_MEASUREMENTS))
    with progress("training", state.steps, runtime.quiet) as shown:
        for step in train(state, loss):
            sum_loss, num_steps = sum_loss + step.loss, num_steps + 1
            shown.step(loss=step.loss, epoch=round(step.epoch, 2))
            last = step.number == state.steps
            if not last and not (step.epoch_ends and round(step.epoch) % every == 0):
                continue
            way, quality = best_way(TorchBackend(state.model), task, tuning, tune_rows)
            curve.append({"epoch": round(step.epoch, 3), "loss": sum_loss / num_steps, "tune": quality})
            sum_loss, num_steps, waited = 0.0, 0, waited + 1
            if best is None or quality >= best[0]:
                best, waited = (quality, copy.deepcopy(state.model.state_dict()), way), 0
            if options.patience and waited >= options.patience:
                break
    if best:
        state.model.load_state_dict(best[1])
        loaded.task = best[2]
    loaded.model = learner.plain().eval()
    loaded.model.config.update(loaded.task.decision)
    return {
        "curve": curve,
        "metric": task.primary,
        "best_epoch": max(curve, key=lambda point: (point["tune"], point["epoch"]))["epoch"] if curve else 0,
        "learnt": {"parameters": learnt, "share": learnt / loaded.parameters, "note": learner.note},
        "precision": state.precision,
        "threads": threads,
        "rows_at_limit": encoded.at_limit,
        "rows_at_limit_estimated": not encoded.known,
        "seconds": round(time.perf_counter() - started, 2),
    }


def num_learning(state: State) -> int:
    """How many numbers learn before the training is over: what would begin later does not count."""
    begun = [name for name, rate in state.learner.rates.items() if rate.begins * state.epoch_steps < state.steps]
    return sum(state.model.get_parameter(name).numel() for name in begun)
