"""The one noun: a model directory, an ordinary Hugging Face directory plus `penjing.json` and a card.

config.json, tokenizer or processor files    as transformers writes them
model.safetensors (or shards and an index)   weights for torch, or
model.onnx, or openvino_model.xml and .bin    the artefact of another engine, in their place
penjing.json                                 task, labels, engine, hash of the weights, roles of rows, lineage
README.md, report.json, report.html          the card, for the hub, for programs and for people

A checkpoint of transformers' Trainer is one too; what it keeps beside (optimizer.pt, trainer_state.json ...) is neither read nor counted.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penjing.core import hub
from penjing.core.durable import write_text
from penjing.core.errors import ModelError, OptionError, PenjingError, nearest
from penjing.core.readers.folder import licence
from penjing.core.runtime import Runtime

NEW = "new:"  # what begins the name of a size, in the place of a directory: a model that is made anew
BY_WORDS = "penjing finetune it first, or ask it by the words of labels: --labels sports,politics"  # of a model without a task
META = "penjing.json"
REPORTS = (META, "README.md", "report.json", "report.html")
INDEX = "model.safetensors.index.json"
OPENVINO = ("openvino_model.bin", "openvino_model.xml")  # weights and graph; neither is of use without the other
TRAINER_STATE = "trainer_state.json"
CHECKPOINTS = ".checkpoints"  # in the folder of an output while it is made: where a training goes on after it was stopped or killed
MADE = ".made"  # in the same place: the models that a search has made so far
BEGUN = ".begun.json"  # in the same place: what the call depends on that these are of
_TEXTS = (".json", ".txt", ".model", ".tiktoken", ".jinja", ".py")  # config, tokenizer, code: what is opened beside the weights
_PROCESSORS = (
    "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SCHEMA = 1
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class ModelDir:
    """A model on disk; wherever a path of one is taken, this is too.

    meta     penjing.json, empty for a directory that penjing did not write
    origin   the repository of the hub that it was fetched from, None for a directory of the user's own
    """

    path: Path
    meta: dict[str, Any]
    origin: hub.Origin | None = None

    @classmethod
    def open(cls, source: "str | Path | ModelDir", runtime: Runtime | None = None) -> "ModelDir":
        """Open a directory, or a model of the hub (hf:org/name), and check its weights against the recorded hash.

        Raises ModelError for a path that is no model directory, a pickle, missing or changed weights, and what cannot be fetched.
        """
        if isinstance(source, ModelDir):
            return source
        if str(source).startswith(hub.PREFIX):
            given = runtime or Runtime()
            return cls._checked(*hub.fetch(str(source), given.quiet, given.trust_code))
        _require_directory(Path(source))
        return cls._checked(Path(source))

    @classmethod
    def _checked(cls, path: Path, origin: hub.Origin | None = None) -> "ModelDir":
        meta = _object(path / META) if (path / META).exists() else {}
        base = cls(path, meta, origin)
        _object(path / "config.json")
        if meta.get("schema", SCHEMA) > SCHEMA:
            later = f"{base}: written by a later penjing (schema {meta['schema']})"
            raise ModelError(later, wanted=f"schema {SCHEMA}", fix="pip install --upgrade penjing")
        _require_weights(base)
        recorded = meta.get("weights", {}).get("sha256")
        if recorded and base.sha256() != recorded:
            raise ModelError(
                f"{base}: the weights are not those that {META} records",
                wanted=f"sha256 {recorded[:12]}, found {base.sha256()[:12]}",
                fix=f"copy the directory again, or delete {META} to use the changed weights as a new model",
            )
        return base

    def __str__(self) -> str:
        """As its user named it."""
        return str(self.origin or self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def task(self) -> str | None:
        """Name of the task, from penjing.json, else from the architecture that the config names."""
        return self.meta.get("task") or _TASK_OF.get(str((self.config.get("architectures") or [""])[0]).split("For")[-1])

    @property
    def config(self) -> dict[str, Any]:
        """config.json as it stands."""
        return json.loads((self.path / "config.json").read_text("utf-8"))

    @property
    def head(self) -> str:
        """The kind of answer it gives: "one-label", "many-labels" or "number", as transformers tells them apart."""
        config = self.config
        usual = "number" if len(config.get("id2label") or {}) == 1 else "one-label"
        return _HEAD_OF.get(config.get("problem_type") or "", usual)

    @property
    def labels(self) -> list[str] | None:
        """The labels this model was trained on; None where its config only has placeholders or nothing, none where it gives numbers."""
        if self.head == "number":
            return []
        if "labels" in self.meta:
            return list(self.meta["labels"]) or None
        named = self.config.get("id2label") or {}
        labels = [named[i] for i in sorted(named, key=int)]
        return None if all(label == f"LABEL_{i}" for i, label in enumerate(labels)) else labels

    @property
    def engine(self) -> str:
        """What runs it: "torch", "onnxruntime" or "openvino"."""
        return self.meta.get("engine", "torch")

    @property
    def writes(self) -> bool:
        """Whether its engine can be asked token by token, as tasks that write ask."""
        return self.engine == "torch" or bool(self.meta.get("writes"))

    @property
    def precision(self) -> str | None:
        """Of its weights, where penjing stored them otherwise than in fp32."""
        return self.meta.get("precision")

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """The stages that led here, oldest first."""
        return list(self.meta.get("lineage", []))

    def weight_files(self) -> list[Path]:
        """The files that hold the weights, sorted; of shards and of pairs all that belong together, whether they are there or not."""
        if (self.path / INDEX).exists() and not (self.path / "model.safetensors").exists():
            return sorted(self.path / name for name in _shards(self.path / INDEX))
        pair = [self.path / name for name in OPENVINO]
        found = sorted(p for p in self.path.iterdir() if p.suffix in (".safetensors", ".onnx"))
        return found or (pair if any(path.exists() for path in pair) else [])

    @property
    def processor_path(self) -> Path:
        """Where its tokenizer or processor lies: here, or in the folder above a checkpoint that Trainer saved without one."""
        above = self.path.absolute().parent
        lacks = _CHECKPOINT.fullmatch(self.path.name) and not _processor_files(self.path)
        return above if lacks and _processor_files(above) else self.path

    @property
    def holds_processor(self) -> bool:
        """Whether there is a tokenizer or a processor; transformers would make an empty one and say nothing."""
        return bool(_processor_files(self.processor_path))

    def sha256(self) -> str:
        """Hash of the weights: of every weight file's name and content."""
        return _sha256(self.weight_files())

    def whole_sha256(self) -> str:
        """Hash of all that an engine opens."""
        return _sha256(self._opened())

    def bytes(self) -> int:
        """Size of all that an engine opens."""
        return sum(path.stat().st_size for path in self._opened())

    def _opened(self) -> list[Path]:
        """Weights, config, tokenizer, code; not the card and the reports."""
        return [*self.weight_files(), *self.companions()]

    def companions(self) -> list[Path]:
        """What is opened beside the weights: config, tokenizer, code."""
        texts = [p for p in self.path.iterdir() if p.suffix in _TEXTS and p.name not in (*REPORTS, TRAINER_STATE, BEGUN)]
        above = _processor_files(self.processor_path) if self.processor_path != self.path else []
        return sorted([*texts, *above])

    def identity(self) -> dict[str, Any]:
        """Where it is and exactly which one it is."""
        facts = {"path": str(self), "sha256": self.sha256()}
        return {**facts, "commit": self.origin.commit} if self.origin else facts

    def describe(self) -> dict[str, Any]:
        """What a report says of a model."""
        return {**self.identity(), "engine": self.engine, "bytes": self.bytes(), "licence": licence(self.path)}

    def record(self, **facts: Any) -> "ModelDir":
        """Write facts into penjing.json, with the hash of the weights as they are; other entries stay."""
        meta = {"schema": SCHEMA, **self.meta, **facts, "weights": {"sha256": self.sha256()}}
        (self.path / META).write_text(json.dumps(meta, ensure_ascii=False, indent=1, default=str), "utf-8")
        return ModelDir(self.path, meta)


_TASK_OF = {
    "SequenceClassification": "text-classification", "ImageClassification": "image-classification", "CausalLM": "text-generation",
    "GPT2LMHeadModel": "text-generation", "MaskedLM": "fill-mask", "QuestionAnswering": "question-answering",
}  # fmt: skip
_HEAD_OF = {"multi_label_classification": "many-labels", "regression": "number"}
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


def _sha256(files: Sequence[Path]) -> str:
    """Hash of their names and contents."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _processor_files(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.name in _PROCESSORS or p.suffix == ".model"]


def _shards(index: Path) -> set[str]:
    """The files that an index of shards names.

    Raises ModelError for an index that names anything but files beside it.
    """
    names = _object(index).get("weight_map")
    if not isinstance(names, dict) or not names or any(not isinstance(n, str) or Path(n).name != n for n in names.values()):
        problem = f"{index} is damaged: it does not say which tensor lies in which file"
        raise ModelError(problem, wanted="the file as it was written", fix="copy the directory again")
    return set(names.values())


def _require_weights(base: ModelDir) -> None:
    """Raise ModelError unless there are weights, all files of them, and no pickles in their place."""
    files = base.weight_files()
    if missing := [path.name for path in files if not path.exists()]:
        raise ModelError(
            f"{base}: {missing[0]} is missing, {len(missing)} of the {len(files)} files that hold the weights",
            wanted=", ".join(path.name for path in files[:4]),
            fix="copy the directory again",
        )
    if files:
        return
    pickles = sorted(p.name for p in base.path.iterdir() if p.suffix in _PICKLES)
    if pickles:
        shown = next((name for name in pickles if name.startswith("pytorch_model")), pickles[0])
        raise ModelError(
            f"{base}: {shown} is a pickle, which can run code when it is opened",
            wanted="model.safetensors",
            fix="convert it where you trust it: model.save_pretrained(folder) of transformers writes safetensors",
        )
    raise ModelError(f"{base} holds no weights", wanted="model.safetensors or model.onnx", fix="copy the directory again")


def _object(path: Path) -> dict[str, Any]:
    """What a JSON file holds.

    Raises ModelError unless it is one object.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise ModelError(f"{path} is damaged: {error}", wanted="the file as it was written", fix="copy the directory again") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path} is damaged: it holds no object", wanted="the file as it was written", fix="copy the directory again")
    return found


def _require_directory(path: Path) -> None:
    if not path.exists():
        siblings = [p.name for p in path.parent.iterdir() if (p / "config.json").exists()] if path.parent.is_dir() else []
        raise ModelError(
            f"{path} does not exist",
            wanted=f"in {path.parent.resolve()}: {nearest(path.name, siblings)}" if siblings else "a model directory",
            fix="correct the path; a model of the hub is hf:org/name; or make one: penjing finetune new:<size>",
        )
    if not (path / "config.json").exists():
        _refuse_trainer_output(path)
        raise ModelError(
            f"{path} is not a model directory: it has no config.json",
            wanted="a directory that save_pretrained of transformers or a stage of penjing wrote",
            fix="name that directory",
        )


def _refuse_trainer_output(path: Path) -> None:
    """Raise ModelError, naming its checkpoints, for a folder that Trainer wrote and that holds nothing else."""
    numbers = {int(found[1]): p for p in path.glob("checkpoint-*/") if (found := _CHECKPOINT.fullmatch(p.name))}
    if not numbers:
        return
    last = numbers[max(numbers)]
    state = _object(last / TRAINER_STATE) if (last / TRAINER_STATE).exists() else {}
    best = path / Path(state.get("best_model_checkpoint") or last).name
    told = f"{best}, which did best by its {TRAINER_STATE}" if best != last and best.exists() else f"{last}, the last"
    raise ModelError(
        f"{path} holds checkpoints of a training and no model of its own",
        wanted=f"one of them: {', '.join(numbers[n].name for n in sorted(numbers)[-5:])}",
        fix=f"name {told}",
    )


@contextmanager
def staged(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `out` to work in; it becomes `out` by one rename when the body ends, and vanishes when the body fails.

    An output that is there stays whole until the new one is complete. Checkpoints, in folders of their name, outlast a body that fails and
    a process that is killed: the next finds them where they were, and nothing else. Of two processes that want the same `out` at once the
    second is refused.

    Raises OptionError when `out` may not or cannot be written, or the disk is full.
    """
    check_free(out, overwrite)
    with _writing(out), _alone(out) as partial:
        try:
            yield partial
            shutil.rmtree(partial / CHECKPOINTS, ignore_errors=True)
            (partial / BEGUN).unlink(missing_ok=True)
            old = _beside(out, "old")
            shutil.rmtree(old, ignore_errors=True)
            if out.exists():
                out.rename(old)
            partial.rename(out)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            if partial.exists() and not _clear(partial):
                shutil.rmtree(partial, ignore_errors=True)


def check_free(out: Path, overwrite: bool, or_ours: bool = False) -> None:
    """Raise OptionError unless `out` may be written.

    or_ours   let pass what penjing wrote: it may be just what is wanted
    An output that a process took aside and, killed at that moment, did not replace is put back first.
    """
    if not out.name or out.name == "..":
        raise OptionError(f"--out cannot be {str(out)!r}", wanted="a directory of its own for the new model", fix="choose another --out")
    with _writing(out):
        old = _beside(out, "old")
        if old.exists() and not out.exists():
            old.rename(out)
        if not out.exists():
            _require_folder(out)
            return
        if not out.is_dir():
            raise OptionError(f"{out} is a file", wanted="a directory for the new model", fix="choose another --out")
        full = any(out.iterdir())
        if full and not (out / "config.json").exists():
            problem = f"{out} exists and is not a model directory, so it is not replaced"
            raise OptionError(problem, wanted="a new name", fix="choose another --out")
        if full and not overwrite and not (or_ours and (out / META).exists()):
            raise OptionError(f"{out} exists", wanted="a new name", fix="choose another --out, or pass --overwrite")


def check_page(out: Path) -> None:
    """Raise OptionError unless a page may be written to `out`; one that is there is replaced."""
    if out.is_dir() or not out.name or out.name == "..":
        raise OptionError(f"{out} is a folder", wanted="a file: page.html", fix="choose another --out")
    with _writing(out):
        _require_folder(out)


def write_page(out: Path, text: str) -> None:
    """Write a page, or raise OptionError where the disk is full or gives it no place."""
    try:
        write_text(out, text)
    except OSError as error:
        problem = f"{out} cannot be written: {error.strerror}"
        raise OptionError(problem, wanted="a folder that can be written, and room", fix="choose another --out") from error


def _require_folder(out: Path) -> None:
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        problem = f"{out} cannot be written: {there} is " + ("read-only" if there.is_dir() else "a file")
        raise OptionError(problem, wanted="a folder that can be written", fix="choose another --out")


def unfinished(out: Path) -> Path:
    """The folder in which `out` is made."""
    return _beside(out, "partial")


def _beside(out: Path, word: str) -> Path:
    return out.with_name(f".{out.name}.{word}")


@contextmanager
def _alone(out: Path) -> Iterator[Path]:
    """The folder to work in, empty but for checkpoints, and held by this process until the body ends or the process dies."""
    import fcntl  # not on Windows, where this module must still open directories

    partial = unfinished(out)
    partial.mkdir(parents=True, exist_ok=True)
    held = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy = f"{out} is being written by another process"
            raise OptionError(busy, wanted="one at a time", fix="wait for it, or choose another --out") from None
        _clear(partial)
        yield partial
    finally:
        os.close(held)


def _lasts(folder: Path) -> bool:
    """Whether it holds a checkpoint, or what a search has made, whole."""
    if folder.name == MADE:
        return any(folder.rglob("report.json"))
    return folder.name == CHECKPOINTS and any(path.suffix != ".tmp" for path in folder.glob("step-*"))


def _clear(folder: Path) -> bool:
    """Delete everything but what lasts, the folders on the way to it, and what call it is of; whether there is any."""
    found = False
    for child in list(folder.iterdir()):
        if not child.is_dir() or child.is_symlink():
            if child.name != BEGUN:
                child.unlink()
        elif _lasts(child) or (child.name != CHECKPOINTS and _clear(child)):
            found = True
        else:
            shutil.rmtree(child)
    return found


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Say of a disk that is full or may not be written that it is; whichever library was writing, by its own class of error."""
    try:
        yield
    except PenjingError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else next((n for n in _UNWRITABLE if f"(os error {n})" in str(error)), None)
        if number not in _UNWRITABLE:
            raise
        problem, wanted = f"{out} cannot be written: {os.strerror(number)}", "a folder with room for the model"
        raise OptionError(problem, wanted=wanted, fix="make room, or choose another --out") from error
