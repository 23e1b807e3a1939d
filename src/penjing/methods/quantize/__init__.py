"""Ways of storing a model in fewer bits; one file a method. A method has `Options`, CALIBRATES, whether it runs the
model on rows, and ENGINES, by the names of penjing.engine.backends.

Of an engine other than torch, so that it really runs faster:

apply(model, batches, settings, engine, out, reads) -> facts writes the artefact of `model` for one of ENGINES into the folder `out`

batches     rows to calibrate on, at least one; their targets are not read
reads       which of the model's outputs the artefact gives, by their names in transformers
facts       for the card: `engine`, `precision` as the engine's backend shall print it, `bits`, and what was left in fp32

The model is left as it was. The files are those that the backend opens, and need no code of penjing: their inputs keep the keywords of the
model's forward. `apply` raises DataError without a batch, ModelError where the model does not fit the method, MissingExtra without the
engine's libraries.

Of ENGINES = ("torch",), so that it is smaller on disk and in memory, also where it is larger than memory:

rewrite(rewriting, settings) -> facts writes all modules of a model, one after the other

facts       also `config`: entries of config.json that say to transformers how the weights are to be read
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn


class Rewriting(Protocol):
    """A model whose weights are read and written module by module; whatever was written before a run was killed counts as written.

    model   its modules without weights
    dtype   in which what has no few bits is written
    """

    model: nn.Module
    dtype: torch.dtype

    def modules(self, what: str) -> Iterator[str]:
        """Paths of all modules with tensors of their own, counted on the terminal as `what`."""

    def take(self, path: str) -> dict[str, Tensor]:
        """The own tensors of a module by their names in it, as they are stored."""

    def put(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a module, once."""

    def written(self, path: str) -> dict[str, Tensor]:
        """What was written of a module; empty where it was not."""

    def run(self, visit: "Visit", paths: Mapping[str, object]) -> None:
        """Run the model on the calibration rows up to the last of `paths`; `visit` says with which weight each of these runs."""

    def readers(self, paths: Mapping[str, object]) -> dict[str, list[str]]:
        """Norm -> those of `paths` that read what it gives, where nothing else does."""


Visit = Callable[[str, Tensor, Tensor], Tensor]
"""(path, weight (N, K), inputs (M, K) without padding) -> weight (N, K) with which the run goes on."""
