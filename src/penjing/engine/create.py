"""New models by size: `new:resnet-mini` takes image size, channels and labels from the data; a text model trains its tokenizer on them."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import BertTokenizer

from penjing.core import find
from penjing.core.contracts import Example, Task
from penjing.core.errors import ModelError, TaskError, nearest
from penjing.core.runtime import Runtime
from penjing.engine.load import Loaded, register_families

VOCABULARY = 8000
MAX_TOKENS = 256
PREFIX = "new:"


def sizes() -> dict[str, str]:
    """Every size that can follow `new:`, with its family."""
    return {size: name for name in find.names("families") for size in find.find("families", name).SIZES}


def check_size(size: str, task: Task) -> None:
    """Raise ModelError for a size that is not known, TaskError for one that does not fit the task."""
    known = sizes()
    if size not in known:
        raise ModelError(f"no size called {size!r}", wanted=nearest(size, known), fix="penjing families lists them")
    media = find.find("families", known[size]).MEDIA
    if media != task.media:
        fitting = [s for s, name in known.items() if task.media == find.find("families", name).MEDIA]
        raise TaskError(
            f"new:{size} reads {media}, the task {task.media}", wanted=nearest(size, fitting), fix="penjing families lists them"
        )


def create(size: str, task: Task, rows: Sequence[Example], runtime: Runtime, processor: Any = None) -> Loaded:
    """An untrained model of a size, its weights drawn from the seed.

    rows        training rows: what the model must know of the data is learnt from them
    processor   that of a teacher, so that both see the same tokens or pixels; made anew where None
    """
    check_size(size, task)
    register_families()
    family = find.find("families", sizes()[size])
    facts = {**task.facts(rows), "labels": task.labels}
    processor = processor or _PROCESSORS[task.media](task, rows, facts)
    if task.media == "text":
        facts |= {"vocab_size": len(processor), "pad_token_id": processor.pad_token_id, "max_length": processor.model_max_length}
    torch.manual_seed(runtime.seed)
    model = task.auto_model.from_config(family.config(size, facts)).to(runtime.device)
    return Loaded(task, model.eval(), processor)


def _tokenizer(task: Task, rows: Sequence[Example], facts: dict[str, Any]) -> Any:
    """WordPiece learnt from the texts; Chinese characters stand alone, as in BERT."""
    empty = BertTokenizer(vocab={t: i for i, t in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}, do_lower_case=True)
    tokenizer = empty.train_new_from_iterator(_texts(task, rows), vocab_size=VOCABULARY, show_progress=False)
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def _texts(task: Task, rows: Sequence[Example]) -> Iterable[str]:
    return (row[name] for row in rows for name, kind in task.input_columns().items() if kind is str)


def _image_processor(task: Task, rows: Sequence[Example], facts: dict[str, Any]) -> Any:
    from transformers import ViTImageProcessorPil

    height, width = facts["image_size"]
    return ViTImageProcessorPil(
        size={"height": height, "width": width}, image_mean=facts["mean"], image_std=facts["std"], do_convert_rgb=facts["channels"] == 3
    )


_PROCESSORS = {"text": _tokenizer, "image": _image_processor}
