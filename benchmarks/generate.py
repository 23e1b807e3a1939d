"""Tokens a second in writing: penjing beside `generate` of transformers as it comes, on the same model and the same rows.

    python benchmarks/generate.py --model DIRECTORY --data DATA [--rows 200] [--batch 32] [--threads 4]

transformers writes batch after batch in the order of the rows, as a loop over its documentation's example does; penjing takes like lengths
together, and rows that have ended leave the batch. Both follow the model's generation_config.json, and take the likeliest token each time.
The two are timed in turn; texts that differ are counted.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import conditions, table

import penjing
from penjing.core.contracts import Prediction
from penjing.core.data import Data, DataOptions
from penjing.core.model_dir import ModelDir
from penjing.engine import load, measure
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded
from penjing.engine.generate import to_the_left

PROMPT, NEW = 40, 100  # letters, and tokens where the model's settings say nothing


def main() -> None:
    """Time both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--columns", default="", help="as in penjing: text=source,summary=summaries")
    for name, usual in (("rows", 200), ("batch", 32), ("rounds", 5), ("threads", 4)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    base, runtime = ModelDir.open(given.model, penjing.Runtime(quiet=True)), penjing.Runtime(quiet=True, threads=given.threads)
    task = load.task_for(base)
    data = Data.open(given.data, DataOptions(columns=[pair for pair in given.columns.split(",") if pair]), task)
    loaded = load.load(base, task, runtime)
    loaded.model.eval()
    loaded.model.generation_config.update(do_sample=False, max_new_tokens=loaded.model.generation_config.max_new_tokens or NEW)
    rows = [beginning(loaded.task.asked(row)) for row in data.role("tune", given.rows)]
    encoded = Encoded(rows, loaded.task, loaded.processor, labelled=False)
    measure.BATCH_ROWS = given.batch
    backend = TorchBackend(loaded.model, given.threads)
    ways: dict[str, Callable[[], list[str]]] = {
        "transformers": lambda: theirs(loaded, encoded, given.batch),
        "penjing": lambda: [said.value for said in measure.answer(backend, loaded.task, encoded)],
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    texts = {name: way() for name, way in ways.items()}  # which warms up
    for _ in range(given.rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    tokens = sum(len(ids) for ids in loaded.processor(texts["transformers"], add_special_tokens=False)["input_ids"])
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    differ = sum(a != b for a, b in zip(texts["transformers"], texts["penjing"]))
    print(conditions(), "\n")
    lines = [[name, f"{tokens / middle[name]:,.0f}", f"{middle['transformers'] / middle[name]:.2f}×"] for name in ways]
    print(table(["", "tokens/s", "times transformers"], lines))
    print(f"\n{len(rows)} rows in batches of {given.batch}, {tokens:,} tokens, {differ} texts that differ.")


def beginning(asked: dict[str, Any]) -> dict[str, Any]:
    """The row with no more of a prompt than its first letters."""
    return {**asked, "prompt": asked["prompt"][:PROMPT]} if "prompt" in asked else asked


@torch.inference_mode()
def theirs(loaded: load.Loaded, encoded: Encoded, batch_rows: int) -> list[str]:
    """What transformers writes for each row."""

    class Plain:
        """`Model` by transformers' own loop."""

        def generate(self, batch, processor):
            inputs = {name: value for name, value in batch.inputs.items() if not name.startswith("decoder_")}
            seen = 0 if loaded.model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
            written = loaded.model.generate(**(to_the_left(inputs) if seen else inputs))
            return processor.batch_decode(written[:, seen:], skip_special_tokens=True)

    found: list[Prediction] = []
    for start in range(0, len(encoded), batch_rows):
        chosen = range(start, min(start + batch_rows, len(encoded)))
        found += loaded.task.predict(Plain(), encoded.batch(chosen), loaded.processor)
    return [said.value for said in found]


if __name__ == "__main__":
    main()
