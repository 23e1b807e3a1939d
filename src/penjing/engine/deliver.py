"""From a changed model to a directory that can be trusted: save it and pass the parity gate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from penjing.core.contracts import Example, Task
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import gate
from penjing.engine.backends import open_backend
from penjing.engine.batches import Encoded
from penjing.engine.load import Loaded, load_processor, save

PROBE_ROWS = 8


def save_checked(loaded: Loaded, rows: Sequence[Example], out: Path, runtime: Runtime) -> tuple[ModelDir, dict[str, Any]]:
    """Save and reload in a process that never held this model; the facts say how far the answers are apart."""
    loaded.model.eval()
    base = save(loaded, out)
    encoded = Encoded(_first(rows), loaded.task, loaded.processor)
    batch = encoded.batch(range(len(encoded)))
    with torch.inference_mode():
        outputs = loaded.model(**{name: value.to(runtime.device) for name, value in batch.inputs.items()})
    logits, _ = loaded.task.logits(outputs, batch)
    return base, gate.check(base, loaded.task, batch, logits.float().cpu(), torch.get_num_threads())


def check_artefact(base: ModelDir, task: Task, rows: Sequence[Example], runtime: Runtime) -> dict[str, Any]:
    """The same for an engine's artefact: this process and a fresh one must get the same answers from the file."""
    encoded = Encoded(_first(rows), task, load_processor(base, task))
    batch = encoded.batch(range(len(encoded)))
    logits, _ = task.logits(open_backend(base, task, runtime, threads=1)(**batch.inputs), batch)
    return gate.check(base, task, batch, logits.float(), threads=1)


def _first(rows: Sequence[Example]) -> Sequence[Example]:
    return [rows[i] for i in range(min(PROBE_ROWS, len(rows)))]
