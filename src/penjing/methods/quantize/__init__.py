"""Ways of storing a model in fewer bits so that an engine really runs it faster; one file a method.

A method is a module with a frozen dataclass `Options`, `ENGINES` and `apply`, as `Method` says. What it writes is an engine's artefact,
which needs no code of penjing: its inputs keep the keywords of the model's forward, its output is `logits`.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch

from penjing.core.contracts import Batch


class Method(Protocol):
    """What a module of this folder is."""

    Options: type
    """A frozen dataclass; its fields become flags."""

    ENGINES: Collection[str]
    """The engines it writes for, by the names of penjing.engine.backends."""

    def apply(self, model: torch.nn.Module, batches: Iterable[Batch], settings: Any, engine: str, out: Path) -> dict[str, Any]:
        """Write the artefact of `model` for `engine` into the folder `out`; the model itself is left as it was.

        batches   rows to calibrate on, at least one; their targets are not read
        settings  this method's Options
        engine    one of ENGINES; the files are those that its backend opens
        returns   facts for the card: `engine`, `precision` as that backend shall print it, `bits`, and what was left in fp32

        Raises DataError without a batch, ModelError where the model does not fit the method, MissingExtra without the engine's libraries.
        """
        ...
