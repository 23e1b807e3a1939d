"""Train a language model on text without labels, and its tokenizer too: new:<size> from nothing, or a model further."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from penjing.core.contracts import Task
from penjing.core.data import Data, DataOptions
from penjing.core.model_dir import ModelDir
from penjing.core.new_text import NewText
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.core.training import Training

LOOKS = 10  # times that it is measured, evenly spread


@dataclass(frozen=True)
class Options:
    """What the model tells of the text, and how it is trained."""

    task: Annotated[str | None, "text-generation or fill-mask; where not given, that which MODEL is made for"] = None
    beginnings: Annotated[list[str] | None, "texts that it goes on with, or fills, each time it is measured; else of the tune rows"] = None
    training: Training = Training(epochs=1.0, learning_rate=1e-3, schedule="cosine", weight_decay=0.1)
    new_text: NewText = NewText()
    data: DataOptions = DataOptions()


def pretrain(base: ModelDir | str, task: Task, data: Data, options: Options, *, out: Path, runtime: Runtime) -> tuple[ModelDir, Report]:
    """Train on the text of the train rows, keep what does best on the tune rows, measure the saved directory on these.

    base      a model directory, or "new:<size>"
    """
    from penjing.engine import appraise, corpus, create, deliver, fit, gate, samples, tokenizers

    gate.warm_up()
    train_rows, tune_rows = data.role("train"), data.role("tune")
    loaded = create.begun(base, task, train_rows, runtime, new_text=options.new_text)
    blocks = corpus.packed(train_rows, task, loaded.processor, runtime.seed, runtime.quiet)
    shown = samples.Samples(options.beginnings or samples.beginnings(task, tune_rows), loaded, runtime)
    training = fit.fit(loaded, task.loss, blocks, tune_rows, options.training, runtime, out, looks=LOOKS, show=shown)
    model, parity = deliver.save_checked(loaded, tune_rows, out, runtime)
    report = appraise.appraise("pretrain", model, task, tune_rows, "tune", runtime)
    report.facts |= {"training": training, "parity": parity, "parameters": loaded.parameters}
    report.facts["corpus"] = {"tokens": len(blocks.tokens), "blocks": len(blocks), "context": loaded.processor.model_max_length}
    report.notes.append(
        f"learnt from {len(blocks.tokens):,} tokens in {len(blocks):,} blocks of {loaded.processor.model_max_length:,}; "
        f"the last {blocks.left_over:,} are too few for a block"
    )
    if isinstance(base, str):
        report.facts["tokenizer"] = tokenizers.describe(loaded.processor, create.texts(task, tune_rows))
    return model, report
