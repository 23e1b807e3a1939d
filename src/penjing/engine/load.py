"""Model directories and torch modules: open, make from a preset, save. The public loaders of transformers do the work."""

import contextlib
import filecmp
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import PreTrainedModel

from penjing.core import find
from penjing.core.contracts import Task
from penjing.core.errors import ModelError, OptionError, TaskError, need
from penjing.core.model_dir import BY_WORDS, ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import few_bits

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}  # of weights -> as cards name it
MOST_POSITIONS = 512  # tokens; what a tokenizer that states no limit is held to when the config states none either


@dataclass
class Loaded:
    """A model in memory with all that goes with it; `base` is None until it has been saved.

    fresh    whether its head is drawn from the random generator and has learnt nothing
    stored   its weights where they lie elsewhere and `model` has none, each read when it is asked for
    """

    task: Task
    model: PreTrainedModel
    processor: Any
    base: ModelDir | None = None
    fresh: bool = False
    stored: Mapping[str, torch.Tensor] | None = None

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """All of them by their names, in memory or not."""
        return self.model.state_dict() if self.stored is None else self.stored

    @property
    def parameters(self) -> int:
        """How many numbers the model has learnt, shared ones once."""
        return sum(p.numel() for p in self.model.parameters())


def load(base: ModelDir, task: Task, runtime: Runtime) -> Loaded:
    """A torch model with its processor, ready to be trained or changed.

    Raises ModelError for an artefact of another engine, weights that miss part of the body, or code that is not penjing's own.
    """
    require_torch(base)
    fresh = not task.open_answers and base.labels != task.labels
    return Loaded(task.of(base.config), load_model(base, task, runtime), load_processor(base, task), base, fresh)


def require_torch(base: ModelDir) -> None:
    """Raise ModelError for an artefact of another engine."""
    if base.engine != "torch":
        origin = base.lineage[-1].get("parent", {}).get("path") if base.lineage else None
        raise ModelError(
            f"{base} is an artefact of {base.engine}, which cannot be trained or changed further",
            wanted="a directory with model.safetensors",
            fix=f"use its parent, {origin}" if origin else "use the model it was made from",
        )


def require_suited(base: ModelDir, task: type[Task], runtime: Runtime) -> None:
    """Raise TaskError for a model of a kind that is not built for the task."""
    trusted = _trust(base, runtime)
    with quiet_transformers(), _model_errors(base):
        config = transformers.AutoConfig.from_pretrained(base.path, trust_remote_code=trusted)
    if not (trusted or suits(config, task)):
        name = task.__module__.rsplit(".", 1)[-1].replace("_", "-")
        raise TaskError(
            f"{base} is a model of type {config.model_type}, which is not built for {name}",
            wanted=f"a type that transformers has for {task.auto_model.__name__}",
            fix="choose another MODEL; penjing families lists new ones",
        )


def suits(config: transformers.PretrainedConfig, task: Task | type[Task]) -> bool:
    """Whether transformers has an architecture of this config for the task.

    An encoder that it would also run from left to right (`is_decoder`) has not learnt to go on with a text.
    """
    both_ways = goes_on(task) and config.to_dict().get("is_decoder") is False
    return type(config) in task.auto_model._model_mapping and not both_ways


def goes_on(task: Task | type[Task]) -> bool:
    """Whether its models go on with a text from left to right."""
    return task.auto_model is transformers.AutoModelForCausalLM


def require_device(runtime: Runtime) -> None:
    """Raise OptionError for a device that this machine, or this build of torch, does not have."""
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise OptionError(
            "--device cannot be 'cuda': torch finds no GPU", wanted="'cpu'", fix="leave --device out, or install torch for CUDA"
        )


def load_model(base: ModelDir, task: Task, runtime: Runtime, as_stored: bool = False) -> PreTrainedModel:
    """The module alone, in fp32; a head that the weights lack (an encoder that was only pretrained) is drawn from the seed.

    as_stored   weights of few bits stay packed, those that penjing stored in 16 bits stay so
    """
    if packed := few_bits.is_packed(base.config):
        need("compressed_tensors", "quant")
    torch.manual_seed(runtime.seed)
    with quiet_transformers(), _model_errors(base), few_bits.quiet() if packed else contextlib.nullcontext():
        model, info = task.auto_model.from_pretrained(
            base.path,
            trust_remote_code=_trust(base, runtime),
            use_safetensors=True,  # never the pickle that may lie beside
            output_loading_info=True,
            ignore_mismatched_sizes=base.labels is not None and base.labels != task.labels,
            dtype="auto" if as_stored and (packed or base.precision in ("bf16", "fp16")) else torch.float32,
            **answers_of(task),
        )
        if packed:
            (few_bits.keep_packed if as_stored else few_bits.unpack)(model)
    lost = [name for name in info["missing_keys"] if not _of_head(model, name)]
    if lost:
        missing = f"{', '.join(sorted(lost)[:3])} ({len(lost)} tensors in all)"
        raise ModelError(f"{base}: the weights lack {missing}", fix="copy the directory again")
    return model.to(runtime.device)


def answers_of(task: Task) -> dict[str, Any]:
    """What the config of a model for this task says of its answers."""
    numbered = dict(enumerate(task.outputs))
    wanted: dict[str, Any] = {"id2label": numbered, "label2id": {label: i for i, label in numbered.items()}} if numbered else {}
    return wanted | ({"problem_type": task.problem_type} if task.problem_type else {})


def outline(base: ModelDir, task: type[Task], runtime: Runtime) -> PreTrainedModel:
    """The module without its weights: nothing is allocated."""
    with torch.device("meta"):
        return _unfilled(base, task, runtime)


def skeleton(base: ModelDir, task: type[Task], runtime: Runtime) -> PreTrainedModel:
    """The module without its parameters; buffers that are in no file, such as the frequencies of positions, are there."""
    with need("accelerate", "quant").init_empty_weights(include_buffers=False):
        model = _unfilled(base, task, runtime)
    model.tie_weights()  # each was made anew
    return model


def _unfilled(base: ModelDir, task: type[Task], runtime: Runtime) -> PreTrainedModel:
    trusted = _trust(base, runtime)
    with quiet_transformers(), _model_errors(base):
        config = transformers.AutoConfig.from_pretrained(base.path, trust_remote_code=trusted)
        return task.auto_model.from_config(config, trust_remote_code=trusted, dtype=torch.float32)  # type: ignore[no-any-return]


def load_processor(base: ModelDir, task: Task) -> Any:
    """Tokenizer, image processor or feature extractor; a tokenizer never gives more tokens than the model has positions.

    Raises ModelError for a directory that was saved without it.
    """
    if not base.holds_processor:
        part, file = ("tokenizer", "tokenizer.json") if task.media == "text" else (f"{task.media} processor", "preprocessor_config.json")
        fix = f"copy the {part} files of the model it was trained from into {base.path}"
        raise ModelError(f"{base} holds no {part}", wanted=f"{file} beside the weights", fix=fix)
    with quiet_transformers(), _model_errors(base):
        processor = task.auto_processor.from_pretrained(base.processor_path, trust_remote_code=False)  # else transformers asks on stdin
    if task.media == "text":
        if len(processor) <= len(set(processor.all_special_tokens)):  # without its files transformers makes an empty one and says nothing
            raise ModelError(f"{base}: its tokenizer has no vocabulary", wanted="tokenizer.json", fix="copy the directory again")
        positions = base.config.get("max_position_embeddings", base.config.get("n_positions", MOST_POSITIONS))
        if processor.pad_token is None:  # a decoder of the hub may have none
            processor.pad_token = processor.eos_token
        processor.model_max_length = min(processor.model_max_length, positions)
    return processor


def task_for(base: ModelDir) -> Task:
    """The task of a directory.

    Raises TaskError where it does not say which that is, ModelError where it does not name its labels.
    """
    if base.task is None:
        raise TaskError(f"{base} does not say which task it is for", wanted="a model that was trained for one", fix=BY_WORDS)
    kind = find.find("tasks", base.task).TASK
    if base.labels is None and not kind.open_answers:
        raise ModelError(f"{base.path} does not name its labels", wanted="id2label in config.json", fix="penjing finetune it first")
    return kind([] if kind.open_answers else base.labels, base.head).of(base.config)  # type: ignore[no-any-return]


def save(loaded: Loaded, out: Path) -> ModelDir:
    """Write config, weights (safetensors) and processor; for penjing's own families their one code file too."""
    with quiet_transformers():
        loaded.model.save_pretrained(out)
    return save_beside(loaded, out, "fp32")


def save_beside(loaded: Loaded, out: Path, precision: str) -> ModelDir:
    """Write what goes with weights and config that lie in `out`."""
    with quiet_transformers():
        loaded.processor.save_pretrained(out)
    for name, content in loaded.task.beside(loaded.model.config).items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    for path in filter(Path.is_file, out.iterdir()):
        path.chmod(0o644)  # safetensors writes files that only their owner can read
    return ModelDir(out, {}).record(task=task_name(loaded.task), labels=loaded.task.labels, engine="torch", precision=precision)


def task_name(task: Task) -> str:
    """The name users type, which is that of the task's file."""
    return type(task).__module__.rsplit(".", 1)[-1].replace("_", "-")


def register_families() -> None:
    """Make penjing's own architectures known to the Auto classes, so that they load without running code from a directory."""
    for name in find.names("families"):
        family = find.find("families", name)
        if "register" in vars(family):
            family.register()


def _trust(base: ModelDir, runtime: Runtime) -> bool:
    """Whether code in the directory may run. penjing's own families need none: they are registered here.

    Raises ModelError for code that is not penjing's own, unless the user said --trust-code.
    """
    classes = base.config.get("auto_map")
    if not classes:
        return False
    register_families()
    for name in {str(entry).split(".")[0] for entry in classes.values()}:
        own, there = Path(__file__).parents[1] / "families" / f"{name}.py", base.path / f"{name}.py"
        if own.exists() and (filecmp.cmp(own, there, shallow=False) if there.exists() else base.origin):
            continue  # from the hub code comes only with --trust-code, and what is registered here is used without it
        if not runtime.trust_code:
            raise ModelError(
                f"{base}/{name}.py is code that is not penjing's own, and loading the model would run it",
                wanted="code that you know",
                fix="read it, then pass --trust-code",
            )
        return True
    return False


def _of_head(model: torch.nn.Module, name: str) -> bool:
    alone = model.base_model_prefix and model.base_model is model
    body = "" if alone else f"{model.base_model_prefix}."
    return not name.startswith(body) or "pooler." in name


@contextlib.contextmanager
def _model_errors(base: ModelDir) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        said = str(error).splitlines()[0]
        wanted = "a complete directory as save_pretrained of transformers writes it"
        raise ModelError(f"{base}: transformers cannot load it: {said}", wanted=wanted, fix="copy the directory again") from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the bars and notices of transformers, which penjing's own messages replace."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.CRITICAL)
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "At least one mel filter")  # of the Audio Spectrogram Transformer's own 128 at 16 kHz
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
