"""Ways of storing a model in fewer bits; one file a method. A method has `Options`, CALIBRATES, whether it runs the
model on rows, and ENGINES, by the names of penjing.engine.backends.

Of an engine other than torch, so that it really runs faster:

apply(model, batches, settings, engine, out, reads) -> facts writes the artefact of `model` for one of ENGINES into the folder `out`

batches     rows to calibrate on, at least one; their targets are not read
reads       which of the model's outputs the artefact gives, by their names in transformers
facts       for the card: `engine`, `precision` as the engine's backend shall print it, `bits`, and what was left in fp32;
            `wide_sums`, whether only processors that add products of 8 bits in 32 may run it; `writes`, whether it can be asked token by
            token

The model is left as it was. The files are those that the backend opens, and need no code of penjing: their inputs keep the keywords of the
model's forward, beside which one that writes takes past_key_values.0.key and so on. `apply` raises DataError without a batch, ModelError
where the model does not fit the method, MissingExtra without the engine's libraries.

Of ENGINES = ("torch",), so that it is smaller on disk and in memory, also where it is larger than memory:

rewrite(rewriting, settings) -> facts writes all modules of a model, one after the other

facts       also `config`: entries of config.json that say to transformers how the weights are to be read

And whether a model can learn to be rounded so, before it is (engine/rounded.py):

rounding(model, settings, engine, dtype) -> {path: Rounding} for modules of `model` that are nn.Linear, nn.Conv1d, nn.Conv2d, nn.Embedding,
            or Conv1D of transformers, and no subclass of these. It raises OptionError for settings that do not fit, ModelError where
            nothing would be rounded
NOT_LEARNT  in its place: why there is nothing to learn with, as it follows "--method NAME"

dtype       in which Rewriting writes what has no few bits
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Rounding(NamedTuple):
    """How a layer is computed once it is quantized: functions of fp32 tensors that give the numbers that are stored or multiplied, in fp32.

    weight   of the weight as the module holds it; of the rows (..., H) that were read, where it is a table of embeddings
    input    of what the layer multiplies by it; None where that stays as it is
    """

    weight: Callable[[Tensor], Tensor]
    input: Callable[[Tensor], Tensor] | None = None


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
