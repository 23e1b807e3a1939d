"""Ways of storing a model in fewer bits so that an engine really runs it faster; one file a method.

A method is a module with a frozen dataclass `Options` and `apply`, as `Method` says. What it writes is an engine's artefact, of one file
that needs no code of penjing: its inputs keep the keywords of the model's forward, its output is `logits`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import torch

from penjing.core.contracts import Batch


class Method(Protocol):
    """What a module of this folder is."""

    Options: type
    """A frozen dataclass; its fields become flags."""

    def apply(self, model: torch.nn.Module, batches: Iterable[Batch], settings: Any, out: Path) -> dict[str, Any]:
        """Write the artefact of `model` into the folder `out`; the model itself is left as it was.

        batches   rows to calibrate on, at least one; their targets are not read
        settings  this method's Options
        returns   facts for the card: `engine` (which backend opens it), `file` (its name within `out`), `bits`, and what was left in fp32

        Raises DataError without a batch, ModelError where the model does not fit the method, MissingExtra without the engine's libraries.
        """
        ...
