"""From a changed model to a directory that can be trusted: save it and pass the parity gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from penjing.core.contracts import IMPOSSIBLE, Batch, Example, Task
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import few_bits, gate
from penjing.engine.backends import Backend, open_backend
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded, measuring_batches
from penjing.engine.load import Loaded, load_processor, save
from penjing.engine.measure import BATCH_ROWS, BATCH_TOKENS

PROBE_ROWS, PROBE_TOKENS = 8, 4096
COMPARED_ROWS, COMPARED_LOGITS = 256, 1 << 26


def save_checked(loaded: Loaded, rows: Sequence[Example], out: Path, runtime: Runtime) -> tuple[ModelDir, dict[str, Any]]:
    """Save and reload in a process that never held this model; the facts say how far the answers are apart."""
    loaded.model.eval()
    base = save(loaded, out)
    batch = _probe(Encoded(_first(rows), loaded.task, loaded.processor))
    with torch.inference_mode():
        outputs = loaded.model(**{name: value.to(runtime.device) for name, value in batch.inputs.items()})
    return base, gate.check(base, loaded.task, batch, _read(outputs, loaded.task), torch.get_num_threads())


def check_artefact(base: ModelDir, task: Task, rows: Sequence[Example], runtime: Runtime, whole: Loaded | None) -> dict[str, Any]:
    """The same for what was never in memory as it lies there: this process and a fresh one must get the same answers from the file.

    The facts also say how far its logits are from those of `whole`, the model it was made from; None where there is no room for it.
    """
    batch = _probe(Encoded(_first(rows), task, load_processor(base, task)))
    backend = open_backend(base, task, runtime, threads=1)
    outputs = _read(backend(**batch.inputs), task)
    if whole is None:
        del backend  # before the other process holds it too
        return gate.check(base, task, batch, outputs, threads=1, keep_packed=few_bits.is_packed(base.config))
    return {**gate.check(base, task, batch, outputs, threads=1), "parent": logits_apart(whole, backend, rows)}


def logits_apart(whole: Loaded, artefact: Backend, rows: Sequence[Example]) -> dict[str, float]:
    """How far an artefact's logits are from those of the model it was made from.

    Returns {"largest": largest difference of a logit, "typical": root mean square, "spread": standard deviation of the model's own, "rows"}
    """
    encoded = Encoded(_first(rows, COMPARED_ROWS), whole.task, whole.processor)
    model, pairs, compared = TorchBackend(whole.model), [], 0
    for chosen in measuring_batches(encoded, BATCH_ROWS, BATCH_TOKENS):
        batch = encoded.batch(chosen)
        both = [whole.task.logits(backend(**batch.inputs), batch)[0].float().cpu() for backend in (model, artefact)]
        pairs.append([logits[both[0] > IMPOSSIBLE] for logits in both])
        compared += len(chosen)
        if sum(len(logits) for logits, _ in pairs) > COMPARED_LOGITS:  # thousands for each token of a text are enough with few texts
            break
    true, found = (torch.cat(logits) for logits in zip(*pairs))
    apart = (found - true).abs()
    typical = apart.square().mean().sqrt().item()
    return {"largest": apart.max().item(), "typical": typical, "spread": true.std(correction=0).item(), "rows": compared}


def _probe(encoded: Encoded) -> Batch:
    """As many of the rows as are not too long together, one at least."""
    return encoded.batch(next(iter(measuring_batches(encoded, PROBE_ROWS, PROBE_TOKENS))))


def _read(outputs: Any, task: Task) -> dict[str, torch.Tensor]:
    """What the task reads of outputs."""
    return {name: getattr(outputs, name).float().cpu() for name in task.reads}


def _first(rows: Sequence[Example], most: int = PROBE_ROWS) -> Sequence[Example]:
    return [rows[i] for i in range(min(most, len(rows)))]
