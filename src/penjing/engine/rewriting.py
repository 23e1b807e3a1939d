"""A model written anew module by module: its tensors are read from disk, or from a model in memory, when their turn comes.

`Rewriter` hands modules to a method that quantizes them; `write` writes what a method of prune leaves of a model `on_disk`.

What is held at a time is one module, the activations of the calibration rows, and what is not yet a whole file of PIECE_BYTES. Finished
files lie where a run that was killed finds them.
"""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from transformers import GenerationConfig

from penjing.core.contracts import Batch, Task
from penjing.core.durable import settle
from penjing.core.errors import ModelError
from penjing.core.model_dir import CHECKPOINTS, INDEX, ModelDir
from penjing.core.progress import progress, track
from penjing.core.runtime import Runtime, free_bytes
from penjing.engine.load import PRECISIONS, Loaded, answers_of, load_processor, outline, quiet_transformers, save_beside, skeleton
from penjing.methods.prune import Remaining
from penjing.methods.quantize import Visit

PIECE_BYTES = 512 << 20  # of a file of the output
CALIBRATION_TOKENS = 16384  # activations of a layer of 14,336 units over as many take 0.9 GB
ROOM = 2.5  # times the parent in fp32 that must be free to hold it whole: parent and child are measured in turn, with activations
UNMEASURED = "its parent has no room in the memory of this machine: it was not measured, and nothing here tells what was lost"


def rows_at_once(lengths: numpy.ndarray) -> int:
    """How many of the first rows make a calibration batch: all, or as many as have room as long as the longest of them is."""
    tokens = numpy.maximum.accumulate(lengths) * numpy.arange(1, len(lengths) + 1)
    return max(1, int((tokens <= CALIBRATION_TOKENS).sum()))


def fits(model: nn.Module) -> bool:
    """Whether there is room to hold this model in fp32 and measure it beside its child."""
    return needed_bytes(model) < free_bytes()


def needed_bytes(model: nn.Module) -> int:
    """Room for that."""
    return int(ROOM * 4 * sum(p.numel() for p in model.parameters()))


class Rewriter:
    """A model on its way from `weights` into files of `folder`; the protocol is penjing.methods.quantize.Rewriting.

    model     its modules; parameters without memory where they are read from disk, those in memory otherwise
    weights   tensors by their names in the model, read when they are asked for
    batch     calibration rows
    """

    def __init__(self, model: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype, folder: Path, batch: Batch, quiet: bool):
        self.model, self.dtype = model, dtype
        self._weights, self._batch, self._quiet = weights, batch, quiet
        self._out = _Pieces(folder / CHECKPOINTS)
        self._names = dict[str, dict[str, str]]()
        for name, first in _stored_names(model, weights).items():
            path, _, own = name.rpartition(".")
            self._names.setdefault(path, {})[own] = first

    def modules(self, what: str) -> Iterator[str]:
        """Paths of all modules with tensors of their own, counted on the terminal; one that only shares those of another is none."""
        owning = [path for path in self._names if self._own(path)]
        return track(owning, what, len(owning), self._quiet)

    def take(self, path: str) -> dict[str, Tensor]:
        """The own tensors of a module, as they are stored."""
        return {own: self._weights[name] for own, name in self._own(path).items()}

    def put(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a module."""
        self._out.add({f"{path}.{own}".lstrip("."): value.contiguous() for own, value in tensors.items()})

    def written(self, path: str) -> dict[str, Tensor]:
        """What was written of a module, in this run or one that was killed."""
        return self._out.read(path)

    def finish(self, out: Path) -> None:
        """Give the files the names that transformers looks for."""
        self._out.finish(out)

    @torch.inference_mode()
    def run(self, visit: Visit, paths: Mapping[str, object]) -> None:
        """One pass of the calibration rows, all in one batch; a module has its weights while it computes."""
        inputs, left = self._batch.inputs, set(paths)

        def fill(path: str, module: nn.Module, given: tuple[Any, ...]) -> None:
            if not left:
                raise _Done
            held = {own: _float(self._weights[name]) for own, name in self._names[path].items()}
            if path in paths:
                held["weight"] = visit(path, held["weight"], _tokens(given[0], inputs.get("attention_mask")))
                shown.step(path in left)
                left.discard(path)
            for own, value in held.items():
                _place(module, own, value)

        with progress("calibrating layers", len(paths), self._quiet) as shown:
            self._pass(fill, inputs)

    @torch.inference_mode()
    def readers(self, paths: Mapping[str, object]) -> dict[str, list[str]]:
        """What reads each norm is seen in one pass of a single row; a norm is what gives half of its output for half of its weights."""
        reading = _Reading({path: self.model.get_submodule(path) for path in paths})

        def fill(path: str, module: nn.Module, given: tuple[Any, ...]) -> None:
            for own, name in self._names[path].items():
                _place(module, own, _float(self._weights[name]))
            if len(given) == 1 and not next(module.children(), None) and path not in paths:
                reading.try_norm(path, module, *given)

        with reading:
            self._pass(fill, {name: value[:1] for name, value in self._batch.inputs.items()}, reading.given)
        return reading.found()

    def _pass(self, fill: Callable[..., None], inputs: dict[str, Tensor], given: Callable[..., None] | None = None) -> None:
        """Run the model; `fill` gives each module its tensors before it is called, `given` sees its output; then they are taken away."""

        def empty(before: dict[str, nn.Parameter | None], module: nn.Module, *_: Any) -> None:
            module._parameters.update(before)

        handles = []
        for path in self._names:
            module = self.model.get_submodule(path)
            handles += [module.register_forward_pre_hook(partial(fill, path))]
            handles += [module.register_forward_hook(partial(given, path))] if given else []
            handles += [module.register_forward_hook(partial(empty, dict(module._parameters)))]
        try:
            with contextlib.suppress(_Done):
                self.model(**inputs)
        finally:
            for handle in handles:
                handle.remove()

    def _own(self, path: str) -> dict[str, str]:
        """Name in the module -> name in the model, without what another module writes."""
        return {own: name for own, name in self._names[path].items() if name == f"{path}.{own}".lstrip(".")}


class _Reading(TorchFunctionMode):
    """Watches which operations of torch read the outputs of norms, while a model runs."""

    def __init__(self, layers: dict[str, nn.Module]):
        super().__init__()
        self._layers, self._norms = layers, set[str]()
        self._given: dict[int, tuple[str, Tensor]] = {}  # kept, so that no other tensor gets its id
        self._readers: dict[str, list[str] | None] = {}

    def try_norm(self, path: str, module: nn.Module, inputs: Any) -> None:
        """Note a module as a norm if half of its tensors make half of its output."""
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point() or any(p.ndim != 1 for p in module.parameters()):
            return
        whole, own = module.forward(inputs), dict(module._parameters)
        module._parameters.update({name: nn.Parameter(value / 2, requires_grad=False) for name, value in own.items() if value is not None})
        half = module.forward(inputs)
        module._parameters.update(own)
        if isinstance(whole, Tensor) and whole.shape == inputs.shape and torch.allclose(2 * half, whole, rtol=1e-4, atol=1e-6):
            self._norms.add(path)

    def given(self, path: str, module: nn.Module, _: Any, output: Any) -> None:
        if path in self._norms:
            self._given[id(output)] = path, output
            self._readers.setdefault(path, [])

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for value in (*args, *(kwargs or {}).values()) if isinstance(result, Tensor) else ():  # a shape is no reading
            if id(value) in self._given:
                path, _ = self._given[id(value)]
                reader = next((name for name, layer in self._layers.items() if len(args) > 1 and args[1] is layer.weight), None)
                listed = self._readers[path]
                if function is not nn.functional.linear or reader is None or listed is None:
                    self._readers[path] = None
                elif reader not in listed:
                    listed.append(reader)
        return result

    def found(self) -> dict[str, list[str]]:
        """Norm -> the layers that alone read it."""
        return {path: listed for path, listed in self._readers.items() if listed}


class _Done(Exception):
    """The pass has come as far as it is needed."""


class _Pieces:
    """Tensors on their way to disk, in files that outlast the process one by one."""

    def __init__(self, folder: Path):
        self._folder, self._waiting = folder, dict[str, Tensor]()
        folder.mkdir(parents=True, exist_ok=True)
        self._where: dict[str, Path] = {}
        for path in sorted(folder.glob("step-*.safetensors")):
            with safe_open(path, "pt") as file:
                self._where |= dict.fromkeys(file.keys(), path)

    def add(self, tensors: dict[str, Tensor]) -> None:
        self._waiting |= tensors
        if sum(value.nbytes for value in self._waiting.values()) >= PIECE_BYTES:
            self._settle()

    def read(self, path: str) -> dict[str, Tensor]:
        """The tensors of a module by their names in it."""
        found = {}
        for name in [*self._waiting, *self._where]:
            module, _, own = name.rpartition(".")
            if module == path:
                found[own] = self._waiting[name] if name in self._waiting else _read(self._where[name], name)
        return found

    def finish(self, out: Path) -> None:
        self._settle()
        files = sorted({*self._where.values()})
        names = [f"model-{i:05d}-of-{len(files):05d}.safetensors" for i in range(1, len(files) + 1)] if files[1:] else ["model.safetensors"]
        total = sum(path.stat().st_size for path in files)
        for path, name in zip(files, names):
            path.rename(out / name)
        if files[1:]:
            placed = {tensor: names[files.index(path)] for tensor, path in sorted(self._where.items())}
            index = {"metadata": {"total_size": total}, "weight_map": placed}
            (out / INDEX).write_text(json.dumps(index, indent=2) + "\n", "utf-8")

    def _settle(self) -> None:
        if not self._waiting:
            return
        number = 1 + max((int(path.name[5:10]) for path in self._where.values()), default=0)
        path = self._folder / f"step-{number:05d}.safetensors"
        aside = path.with_suffix(".safetensors.tmp")
        save_file(self._waiting, aside, {"format": "pt"})
        with aside.open("rb+") as file:
            settle(file, path)  # type: ignore[arg-type]
        path.chmod(0o644)  # safetensors writes files that only their owner can read
        self._where |= dict.fromkeys(self._waiting, path)
        self._waiting = {}


class Files(Mapping[str, Tensor]):
    """The tensors of a model directory, each read when it is asked for."""

    def __init__(self, base: ModelDir):
        self._where: dict[str, Path] = {}
        for path in base.weight_files():
            with safe_open(path, "pt") as file:
                self._where |= dict.fromkeys(file.keys(), path)

    def __getitem__(self, name: str) -> Tensor:
        return _read(self._where[name], name)

    def __contains__(self, name: object) -> bool:
        return name in self._where  # Mapping would read it

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def from_disk(base: ModelDir, task: Task, folder: Path, batch: Batch, runtime: Runtime) -> Rewriter:
    """A model that is never held whole.

    Raises ModelError where the names of its tensors are not those of the model.
    """
    return Rewriter(skeleton(base, type(task), runtime).eval(), Files(base), stored_dtype(base), folder, batch, runtime.quiet)


def from_memory(loaded: Loaded, folder: Path, batch: Batch, runtime: Runtime) -> Rewriter:
    """The same of a model in memory, which stays as it is."""
    weights = {name: value.detach() for name, value in loaded.model.state_dict().items()}
    twin = copy.deepcopy(loaded.model, {id(value): value for value in loaded.model.parameters()})
    dtype = stored_dtype(loaded.base) if loaded.base else torch.float32
    return Rewriter(twin.eval(), weights, dtype, folder, batch, runtime.quiet)


def on_disk(base: ModelDir, task: Task, runtime: Runtime) -> Loaded:
    """A model of which nothing is in memory.

    Raises ModelError where the names of its tensors are not those of the model.
    """
    model, files = outline(base, type(task), runtime), Files(base)
    model.config.update(answers_of(task))
    if model.can_generate() and (base.path / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(base.path)
    stored = Remaining(files, _stored_names(model, files))
    return Loaded(task.of(base.config), model, load_processor(base, task), base, stored=stored)


def write(loaded: Loaded, dtype: torch.dtype, out: Path, runtime: Runtime) -> ModelDir:
    """Write a model of which nothing is in memory, in the precision it is stored in, `dtype`."""
    model, config = loaded.model, loaded.model.config
    rewriter = Rewriter(model, loaded.weights, dtype, out, Batch({}, {}, torch.zeros(0)), runtime.quiet)
    for path in rewriter.modules("writing modules"):
        if not rewriter.written(path):
            rewriter.put(path, rewriter.take(path))
    rewriter.finish(out)
    config.architectures, config.dtype = [type(model).__name__], dtype
    with quiet_transformers():
        config.save_pretrained(out)
        if model.can_generate():
            model.generation_config.save_pretrained(out)
    return save_beside(loaded, out, PRECISIONS[dtype])


def stored_dtype(base: ModelDir) -> torch.dtype:
    """In which its weights are stored."""
    named = base.config.get("dtype") or base.config.get("torch_dtype")
    return {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(str(named), torch.float32)


def _stored_names(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Name of every tensor of a model -> the name it is stored by, which of tied ones is the first.

    Raises ModelError for one that is not there.
    """
    known = model.state_dict(keep_vars=True)
    first = {id(value): name for name, value in reversed(known.items())}
    found = {name: first[id(value)] for name, value in known.items()}
    if missing := next((name for name in found.values() if name not in weights), None):
        raise ModelError(
            f"the weights lack {missing}, or name it otherwise than transformers does",
            wanted="tensors by the names that save_pretrained gives",
            fix="open it with transformers where there is room, and save_pretrained it",
        )
    return found


def _read(path: Path, name: str) -> Tensor:
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def _float(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


def _place(module: nn.Module, own: str, value: Tensor) -> None:
    """Give a module one of its parameters or buffers."""
    if own in module._buffers:
        module._buffers[own] = value
    else:
        module._parameters[own] = nn.Parameter(value, requires_grad=False)


def _tokens(inputs: Tensor, mask: Tensor | None) -> Tensor:
    """Inputs (..., K) of a layer as (M, K), without those of padding where they lie as the mask (B, T) does."""
    if mask is not None and inputs.shape[:-1] == mask.shape:
        return inputs[mask.bool()]
    return inputs.flatten(0, -2)
