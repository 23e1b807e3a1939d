"""How fast a language model is trained from nothing beside the usual trainer of transformers, on the same blocks and processor.

    python benchmarks/language.py --data FOLDER_OF_DATA_SETS [--rounds 5] [--threads N]

A GPT-2 of 14 million parameters, context 256, batches of 16 blocks, with the dropout of its config, on Tiny Shakespeare in 8,000 pieces:
every trainer in turn for a few steps a round, medians of tokens a second; and the loss of both after the same steps.
"""

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from common import conditions, table
from training import Clock, median_seconds
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

from penjing.core.collate import ROW
from penjing.core.contracts import Batch
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.core.training import Training
from penjing.engine import tokenizers
from penjing.engine.batches import Encoded
from penjing.engine.train import State, train
from penjing.maths.losses import cross_entropy
from penjing.methods.finetune import whole

CONTEXT, BLOCKS, PIECES, RATE = 256, 16, 8000, 1e-3
STEPS, WARM, COMPARED, SEEDS = 6, 1, 60, 3
USUAL: dict[str, dict[str, Any]] = {
    "usual trainer, fp32": {},
    "its bf16": {"bf16": True},
    "its bf16, compiled": {"bf16": True, "torch_compile": True},
    "its bf16, 32 blocks in a batch": {"bf16": True, "per_device_train_batch_size": 32},
}


class Blocks:
    """The part of a task that training needs: each row is a block of token ids, and every token but the first is to be predicted."""

    media = "text"

    def encode(self, example: dict[str, Any], processor: Any) -> dict[str, Any]:
        """The block."""
        return {"input_ids": example["input_ids"]}

    def collate(self, encoded: list[dict[str, Any]], processor: Any) -> Batch:
        """(B, CONTEXT) token ids."""
        ids = torch.tensor([entry["input_ids"] for entry in encoded])
        return Batch({"input_ids": ids, "use_cache": False}, {"ids": ids}, torch.tensor([entry[ROW] for entry in encoded]))

    def loss(self, outputs: Any, batch: Batch) -> Any:
        """Of each block, over its tokens; the last predicts nothing."""
        return cross_entropy(outputs.logits, F.pad(batch.targets["ids"][:, 1:], (0, 1), value=-100))

    def length(self, encoded: dict[str, Any]) -> int:
        """Tokens of a block."""
        return CONTEXT

    def fills_window(self, encoded: dict[str, Any], processor: Any) -> bool:
        """All do, on purpose."""
        return False


def main() -> None:
    """Print a section for BENCHMARKS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds tinyshakespeare/")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    rows = blocks((given.data / "tinyshakespeare" / "train.txt").read_text("utf-8"))
    lines = [*speed(rows, given.rounds), *curves(rows)]
    print(f"## language\n\n{conditions()}\n\n{table(['what', 'measured', 'bar'], lines)}")


def blocks(text: str) -> list[dict[str, Any]]:
    """The text in pieces, cut into blocks."""
    parts = text.split("\n\n")
    tokenizer = tokenizers.train(lambda: parts, NewText(tokenizer="bpe", vocabulary=PIECES))
    ids = [number for part in parts for number in tokenizer(part + "\n\n", add_special_tokens=False)["input_ids"]]
    return [{"input_ids": ids[start : start + CONTEXT]} for start in range(0, len(ids) - CONTEXT + 1, CONTEXT)]


def fresh() -> GPT2LMHeadModel:
    """The model, its weights drawn from one seed."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=PIECES, n_positions=CONTEXT, n_embd=384, n_layer=6, n_head=6, use_cache=False)
    return GPT2LMHeadModel(config)


def speed(rows: list[dict[str, Any]], rounds: int) -> list[list[str]]:
    """Tokens a second of each trainer, a line each."""
    runs: dict[str, Callable[[], float]] = {name: functools.partial(usual_rate, rows, words) for name, words in USUAL.items()}
    runs["penjing"] = functools.partial(own_rate, own_steps(rows))
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            rates[name].append(run())
    lines = [[f"{len(rows):,} blocks, {fresh().num_parameters():,} parameters", "", ""]]
    lines += [
        [name, f"{statistics.median(found):,.0f} tokens/s ({min(found):,.0f}-{max(found):,.0f})", ""] for name, found in rates.items()
    ]
    for name, bar in zip(USUAL, ("", "≥ 1.5×", "", "")):
        ratios = [own / other for own, other in zip(rates["penjing"], rates[name])]
        lines.append([f"penjing over {name}", f"{statistics.median(ratios):.2f}× ({min(ratios):.2f}-{max(ratios):.2f})", bar])
    share = statistics.median(rates["penjing"]) / gemm_limit()
    return [*lines, ["penjing's share of the rate of bf16 products of the same shapes", f"{share:.0%}", "aim: 60 %"]]


def own_steps(rows: list[dict[str, Any]], seed: int = 0) -> Iterator[Any]:
    """A training, step by step, for as long as it is asked to go on."""
    task = Blocks()
    options = Training(
        epochs=1000,
        learning_rate=RATE,
        batch_rows=BLOCKS,
        batch_tokens=BLOCKS * CONTEXT,
        precision="bf16",
        warmup_share=0,
        schedule="constant",
    )
    encoded = Encoded(rows, task, SimpleNamespace())  # type: ignore[arg-type]  # all of a task that a training needs
    return train(State(whole(fresh()), encoded, options, Runtime(seed=seed, quiet=True)), task.loss)


def own_rate(steps: Iterator[Any]) -> float:
    """Tokens a second of its next steps."""
    for _ in range(WARM):
        next(steps)
    start = time.perf_counter()
    return sum(next(steps).length for _ in range(STEPS)) / (time.perf_counter() - start)


def usual_rate(rows: list[dict[str, Any]], words: dict[str, Any]) -> float:
    """Tokens a second of the usual trainer."""
    clock = Clock()
    trainer = usual(rows, clock, max_steps=WARM + STEPS, **words)
    trainer.train()
    return trainer.args.train_batch_size * CONTEXT * STEPS / (clock.ends[-1] - clock.ends[WARM - 1])


def usual(rows: list[dict[str, Any]], clock: Clock, **words: Any) -> Trainer:
    """The trainer of transformers on the same blocks."""
    data = [{"input_ids": row["input_ids"], "labels": row["input_ids"]} for row in rows]
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), learning_rate=RATE, lr_scheduler_type="constant", weight_decay=0.01, use_cpu=True,
        save_strategy="no", logging_steps=1, report_to="none", disable_tqdm=True, **{"per_device_train_batch_size": BLOCKS, **words},
    )  # fmt: skip
    return Trainer(fresh(), arguments, train_dataset=data, callbacks=[clock])


def curves(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The mean loss of the last steps of both, after as many, in several orders of the rows."""
    found: dict[str, list[float]] = {"penjing": [], "its bf16": []}
    for seed in range(SEEDS):
        own = [step.loss for step, _ in zip(own_steps(rows, seed), range(COMPARED))]
        trainer = usual(rows, Clock(), max_steps=COMPARED, bf16=True, seed=seed)
        trainer.train()
        other = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        for name, losses in zip(found, (own, other)):
            found[name].append(statistics.mean(losses[-10:]))
    lines = []
    for name, losses in found.items():
        said = f"{statistics.mean(losses):.3f} ({', '.join(f'{loss:.3f}' for loss in losses)})"
        lines.append([f"loss of steps {COMPARED - 9} to {COMPARED}, {name}, {SEEDS} seeds", said, "the same curve"])
    return lines


def gemm_limit() -> float:
    """Tokens a second if the matrix products of the model were all there is, attention's own left out."""
    config, tokens, seconds = fresh().config, BLOCKS * CONTEXT, 0.0
    width = config.n_embd
    shapes = [*[(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)] * config.n_layer, (width, PIECES)]
    for size, height in shapes:
        seen, weight = torch.randn(tokens, size, dtype=torch.bfloat16), torch.randn(height, size, dtype=torch.bfloat16)
        back = torch.randn(tokens, height, dtype=torch.bfloat16)
        for left, right in ((seen, weight.t()), (back, weight), (back.t(), seen)):
            seconds += median_seconds(functools.partial(torch.matmul, left, right), 3)
    return tokens / seconds


if __name__ == "__main__":
    main()
