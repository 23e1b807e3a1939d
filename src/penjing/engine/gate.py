"""The parity gate: what was written is loaded by the public loader in a process that never held the model, and must answer the same.

One process imports torch and transformers once and waits; for each directory it forks a child that opens it, computes the hash of the
weights, runs the probe rows and reports. That takes a fraction of a second, where a cold process takes about nine.

    python -m penjing.engine.gate      reads one request a line, answers one line each; ends with its standard input
"""

import atexit
import functools
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file

from penjing.core.contracts import Batch, Task
from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.openvino import openvino
from penjing.core.runtime import for_children
from penjing.engine import few_bits
from penjing.engine.graph_decoder import from_nothing

TOLERANCE = 1e-4  # of the largest logit; a row alone and in a batch differ by about 1e-6, damaged weights by far more


def check(
    base: ModelDir, task: Task, batch: Batch, outputs: Mapping[str, torch.Tensor], threads: int, keep_packed: bool = False
) -> dict[str, Any]:
    """Reload `base` elsewhere and compare the hash of its weights and its outputs on `batch`, so its answers too, with those in memory.

    outputs       fp32 tensors by the names that `task.reads` has, of any shape
    keep_packed   whether layers of few bits are unpacked one by one there too, where all at once, as transformers does it, have no room

    Returns {"difference": largest absolute difference of a logit, "memory_bytes": growth of the process from load to answers}.

    Raises ModelError saying what differs and where.
    """
    with tempfile.TemporaryDirectory() as folder:
        probe, reply = Path(folder, "probe.safetensors"), Path(folder, "reply.safetensors")
        save_file({name: value.contiguous() for name, value in batch.inputs.items()}, probe)
        files = {"path": str(base.path.absolute()), "probe": str(probe), "reply": str(reply)}
        how = {"auto_model": task.auto_model.__name__, "reads": task.reads, "threads": threads, "keep_packed": keep_packed}
        said = _ask(**files, engine=base.engine, **how)
        if "error" in said:
            raise ModelError(f"{base.path}: a fresh process cannot load what was written: {said['error']}")
        if said["sha256"] != base.sha256():
            raise ModelError(f"{base.path}: a fresh process reads other weights than were written: {said['sha256'][:12]}")
        if said["lost"]:
            raise ModelError(f"{base.path}: a fresh process finds no weights for {', '.join(said['lost'][:3])}")
        reloaded = load_file(reply)
    told = {name: (_at_tokens(name, memory, batch), _at_tokens(name, reloaded[name], batch)) for name, memory in outputs.items()}
    difference = max(compare_logits(base.path, *pair) for pair in told.values())
    return {"difference": difference, "memory_bytes": said["memory_bytes"]}


def _at_tokens(name: str, output: torch.Tensor, batch: Batch) -> torch.Tensor:
    """An output without what stands at padding, which is no part of an answer, and which an engine may leave out."""
    mask = batch.inputs.get("attention_mask")
    if mask is None or output.shape[:2] != mask.shape or (output.ndim == 2 and name == "logits"):
        return output
    return output.masked_fill(~mask.bool().reshape(*mask.shape, *[1] * (output.ndim - 2)), 0.0)


def compare_logits(path: Path, memory: torch.Tensor, reloaded: torch.Tensor) -> float:
    """Largest absolute difference; raises ModelError where it or a changed answer shows that these are two models."""
    if memory.shape != reloaded.shape:
        raise ModelError(f"{path}: reloaded logits have shape {tuple(reloaded.shape)}, in memory it was {tuple(memory.shape)}")
    apart = (memory - reloaded).abs()
    worst = apart.max().item()
    if not worst <= TOLERANCE * max(1.0, memory.abs().max().item()):
        row = int(apart.flatten(1).amax(1).argmax())
        raise ModelError(f"{path}: the reloaded model is another one: on probe row {row} a logit differs by {worst:.3g}")
    best = memory.topk(min(2, memory.shape[-1]), -1).values
    sure = best[..., 0] - best[..., -1] > 2 * TOLERANCE * max(1.0, memory.abs().max().item())
    if (memory.argmax(-1) != reloaded.argmax(-1))[sure].any():
        raise ModelError(f"{path}: the reloaded model answers differently on the probe rows")
    return worst


def warm_up() -> None:
    """Start the waiting process now, so that it has its imports done by the time there is something to check."""
    _process()


def close() -> None:
    """End the waiting process, if there is one."""
    if _process.cache_info().currsize:
        with _process() as process:
            process.terminate()
        _process.cache_clear()


@functools.cache
def _process() -> subprocess.Popen:
    command = [sys.executable, "-m", "penjing.engine.gate"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    atexit.register(close)
    return subprocess.Popen(command, **pipes, text=True, env=for_children())  # type: ignore[call-overload]


def _ask(**request: Any) -> dict[str, Any]:
    process = _process()
    try:
        print(json.dumps(request), file=process.stdin, flush=True)
        line = process.stdout.readline()  # type: ignore[union-attr]
    except OSError:
        line = ""
    if not line:
        close()
        raise ModelError(f"{request['path']}: the process that checks what was written ended early", fix="is there memory left? try again")
    return json.loads(line)


def _serve() -> None:
    """Answer requests until standard input ends; each in a forked child, so that none has held a model before."""
    import transformers.models.bert.modeling_bert  # so that every child has it

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    transformers.utils.logging.set_verbosity(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    for line in sys.stdin:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(write, json.dumps(_answer(json.loads(line))).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        print(said or json.dumps({"error": f"the process died with status {status}"}), file=answers, flush=True)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """What a forked child finds. Plain transformers or an engine only: nothing of penjing's registers its families here."""
    torch.set_num_threads(request["threads"])
    inputs, before = load_file(request["probe"]), _resident()
    try:
        outputs, lost = _LOADERS[request["engine"]](request, inputs)
    except Exception as error:  # whatever a loader raises is the answer
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    save_file({name: found.float().contiguous() for name, found in outputs.items()}, request["reply"])
    return {"sha256": ModelDir(Path(request["path"]), {}).sha256(), "lost": lost, "memory_bytes": max(0, _resident("VmHWM") - before)}


_Outputs = dict[str, torch.Tensor]


def _by_transformers(request: dict[str, Any], inputs: _Outputs) -> tuple[_Outputs, list[str]]:
    has_code = "auto_map" in json.loads(Path(request["path"], "config.json").read_text("utf-8"))
    loader = getattr(transformers, request["auto_model"])
    model, info = loader.from_pretrained(request["path"], trust_remote_code=has_code, output_loading_info=True, local_files_only=True)
    if request["keep_packed"]:
        few_bits.keep_packed(model)
    with torch.inference_mode():
        found = model.eval()(**few_bits.suited(inputs, model))
    return {name: found[name] for name in request["reads"]}, sorted(info["missing_keys"])


def _by_onnxruntime(request: dict[str, Any], inputs: _Outputs) -> tuple[_Outputs, list[str]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    session = onnxruntime.InferenceSession(str(Path(request["path"], "model.onnx")), options, providers=["CPUExecutionProvider"])
    entries = session.get_inputs()
    takes = {node.name for node in entries}
    given = {name: value.numpy() for name, value in inputs.items() if name in takes}
    found = session.run(request["reads"], from_nothing(entries, given))
    return dict(zip(request["reads"], map(torch.from_numpy, found))), []


def _by_openvino(request: dict[str, Any], inputs: _Outputs) -> tuple[_Outputs, list[str]]:
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": request["threads"]}
    model = openvino().Core().compile_model(str(Path(request["path"], "openvino_model.xml")), "CPU", settings)
    takes = {port.any_name for port in model.inputs}
    found = model({name: value.numpy() for name, value in inputs.items() if name in takes})
    return {name: torch.from_numpy(found[name]) for name in request["reads"]}, []


_LOADERS = {"torch": _by_transformers, "onnxruntime": _by_onnxruntime, "openvino": _by_openvino}


def _resident(what: str = "VmRSS") -> int:
    """Bytes of memory this process holds now (VmRSS) or held at most (VmHWM); 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(what)), 0)


if __name__ == "__main__":
    _serve()
