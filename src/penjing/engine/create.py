"""New models by size: `new:resnet-mini` takes image size, channels and labels from the data; a text model trains its tokenizer on them."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import transformers
from transformers import PretrainedConfig, PreTrainedModel

from penjing.core import find
from penjing.core.contracts import Example, Task
from penjing.core.errors import ModelError, TaskError, nearest
from penjing.core.examples import Examples, spread
from penjing.core.model_dir import NEW, ModelDir
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import tokenizers
from penjing.engine.load import Loaded, goes_on, load, register_families, suits, task_name

MOST_ROWS, MOST_BYTES = 100_000, 64 << 20  # that a tokenizer is learnt from
DRAWN = {"do_sample": True, "temperature": 0.8, "top_p": 0.95}  # how one goes on with a text: what is likeliest soon goes round in circles
USUAL: dict[str, tuple[str, dict[str, Any]]] = {  # media: a task, and facts of rows, for counting parameters before there are data
    "text": ("text-classification", {"vocab_size": 8000, "pad_token_id": 0, "cls_token_id": 2, "eos_token_id": 3, "max_length": 256}),
    "image": ("image-classification", {"image_size": (28, 28), "channels": 1}),
    "sound": ("audio-classification", {"image_size": (98, 64), "channels": 1}),
}
USUAL_SAID = "two labels, and texts of 8,000 pieces, grey images of 28 × 28 pixels or one second of sound"


def sizes() -> dict[str, str]:
    """Every size that can follow `new:`, with its family."""
    return {size: name for name in find.names("families") for size in find.find("families", name).SIZES}


def check_size(size: str, task: Task) -> None:
    """Raise ModelError for a size that is not known, TaskError for one that does not fit the task."""
    known = sizes()
    if size not in known:
        raise ModelError(f"no size called {size!r}", wanted=nearest(size, known), fix="penjing families lists them")
    media = family_of(size).MEDIA
    if task.media not in media or not suits(of_size(size), task):
        fitting = [size for size in known if task.media in family_of(size).MEDIA and suits(of_size(size), task)]
        reads = f"reads {' and '.join(media)}, the task {task.media}"
        raise TaskError(
            f"new:{size} {reads if task.media not in media else f'is not built for {task_name(task)}'}",
            wanted=nearest(size, fitting),
            fix="penjing families lists them",
        )


def family_of(size: str) -> Any:
    """The module of the family that has this size."""
    return find.find("families", sizes()[size])


def positions_of(size: str) -> list[str]:
    """The kinds of positions that a size can be made with, its usual one first; empty where its family has one kind alone."""
    return [*getattr(family_of(size), "POSITIONS", ())]


def of_size(size: str, **facts: Any) -> PretrainedConfig:
    """The config of a size for usual rows of what it reads first, but for these facts of them."""
    return config_of(size, {**USUAL[family_of(size).MEDIA[0]][1], "labels": ["a", "b"], **facts})


def config_of(size: str, facts: dict[str, Any], positions: str | None = None) -> Any:
    """The config of a fresh model, for data of which facts and labels are told."""
    register_families()
    config = family_of(size).config(size, {**facts, "positions": positions or next(iter(positions_of(size)), None)})
    config.id2label = dict(enumerate(facts["labels"]))
    config.label2id = {label: number for number, label in config.id2label.items()}
    return config


def outline(size: str) -> PreTrainedModel:
    """A model of a size for usual rows of what it reads first, without its weights: nothing is allocated."""
    config, (task, _) = of_size(size), USUAL[family_of(size).MEDIA[0]]
    auto = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else find.find("tasks", task).TASK.auto_model
    with torch.device("meta"):
        return auto.from_config(config)  # type: ignore[no-any-return]


def begun(
    base: str | ModelDir, task: Task, rows: Sequence[Example], runtime: Runtime, processor: Any = None, new_text: NewText | None = None
) -> Loaded:
    """What a training begins with: for new:<size> a model as `create` makes it, else that of a directory."""
    if isinstance(base, str) and base.startswith(NEW):
        return create(base.removeprefix(NEW), task, rows, runtime, processor, new_text)
    return _bounded(load(ModelDir.open(base, runtime), task, runtime), rows)


def create(
    size: str, task: Task, rows: Sequence[Example], runtime: Runtime, processor: Any = None, new_text: NewText | None = None
) -> Loaded:
    """An untrained model of a size, its weights drawn from the seed.

    rows        training rows: what the model must know of the data is learnt from them
    processor   that of a teacher, so that both see the same tokens or pixels; made anew where None
    new_text    which tokenizer and positions a text model gets
    """
    check_size(size, task)
    made = new_text or NewText()
    facts = {**task.facts(rows), "labels": task.outputs}
    if task.media == "text":
        processor = processor or tokenizers.train(lambda: texts(task, rows, _enough(task, rows)), made, task.generates, goes_on(task))
        end = processor.sep_token_id if processor.eos_token_id is None else processor.eos_token_id
        facts |= {"vocab_size": len(processor), "max_length": processor.model_max_length, "pad_token_id": processor.pad_token_id}
        facts |= {"cls_token_id": processor.cls_token_id, "eos_token_id": end}
    processor = processor or _PROCESSORS[task.media](facts)
    if task.media == "sound":
        facts["image_size"] = _log_mel_size(processor, size)
    torch.manual_seed(runtime.seed)
    config = config_of(size, facts, made.positions)
    config.problem_type = task.problem_type
    model = task.auto_model.from_config(config).to(runtime.device)
    if goes_on(task):
        model.generation_config.update(**DRAWN)
    return _bounded(Loaded(task.of(config.to_dict()), model.eval(), processor, fresh=True), rows)


def _bounded(loaded: Loaded, rows: Sequence[Example]) -> Loaded:
    """What writes answers ends them, at the latest, where the longest ends that it learns from; generation_config.json will say so."""
    task = loaded.task
    if task.generates and task.target_columns:
        answers = [task.truth(rows[int(i)]) for i in spread(len(rows), min(len(rows), MOST_ROWS))]
        longest = max(map(len, loaded.processor(text_target=answers, truncation=True)["input_ids"]))
        loaded.model.generation_config.update(max_new_tokens=longest, max_length=None)
    return loaded


def _enough(task: Task, rows: Sequence[Example]) -> int:
    """How many of the rows a tokenizer is learnt from."""
    mean = float(rows.sizes(task.input_columns()).mean()) if isinstance(rows, Examples) else 0.0
    return min(MOST_ROWS, max(1, int(MOST_BYTES / max(1.0, mean))))


def texts(task: Task, rows: Sequence[Example], most: int | None = None) -> Iterable[str]:
    """Every text that the task reads in the rows, or in so many of them."""
    chosen = (rows[int(i)] for i in spread(len(rows), most or len(rows)))
    return (text for row in chosen for text in task.texts(row))


def _image_processor(facts: dict[str, Any]) -> Any:
    height, width = facts["image_size"]
    return transformers.ViTImageProcessorPil(
        size={"height": height, "width": width}, image_mean=facts["mean"], image_std=facts["std"], do_convert_rgb=facts["channels"] == 3
    )


def _log_mel(facts: dict[str, Any]) -> Any:
    frames, bins = facts["image_size"]
    return transformers.ASTFeatureExtractor(
        sampling_rate=facts["sampling_rate"], num_mel_bins=bins, max_length=frames, mean=facts["mean"], std=facts["std"]
    )


def _log_mel_size(processor: Any, size: str) -> tuple[int, int]:
    """Frames and mel bins of what a processor gives, be it that of a teacher.

    Raises ModelError for a teacher that hears otherwise: raw samples, or the log-mel of Whisper.
    """
    if not isinstance(processor, transformers.ASTFeatureExtractor):
        raise ModelError(
            f"new:{size} reads a log-mel, and its teacher hears by {type(processor).__name__}",
            wanted="a teacher that hears by ASTFeatureExtractor",
            fix="name a student that hears as its teacher does, or finetune new:<size> on the labels alone",
        )
    return processor.max_length, processor.num_mel_bins


_PROCESSORS = {"image": _image_processor, "sound": _log_mel}
