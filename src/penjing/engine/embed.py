"""Rows as vectors.

Letters   n rows, D numbers of a vector
"""

from collections.abc import Callable
from typing import Any

import numpy
from torch import Tensor

from penjing.core.contracts import Batch
from penjing.core.examples import Examples
from penjing.core.progress import progress
from penjing.core.runtime import Runtime
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.batches import Encoded, measuring_batches
from penjing.engine.load import Loaded
from penjing.engine.measure import BATCH_ROWS, BATCH_TOKENS


def embed(loaded: Loaded, rows: Examples, vectors: Callable[[Any, Batch], Tensor], runtime: Runtime) -> numpy.ndarray:
    """(n, D) fp32, what `vectors` makes (N, D) of the outputs for a batch of N rows, in the order of the rows."""
    encoded, backend = Encoded(rows, loaded.task, loaded.processor, labelled=False, quiet=runtime.quiet), TorchBackend(loaded.model)
    found: list[tuple[list[int], numpy.ndarray]] = []
    with progress("embedding", len(encoded), runtime.quiet) as shown:
        for chosen in measuring_batches(encoded, BATCH_ROWS, BATCH_TOKENS):
            batch = encoded.batch(chosen)
            found.append((chosen, vectors(backend(**batch.inputs), batch).cpu().numpy()))
            shown.step(len(chosen))
    order = numpy.argsort([row for chosen, _ in found for row in chosen])
    return numpy.concatenate([part for _, part in found])[order]
