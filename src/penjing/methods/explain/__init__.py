"""What the parts of an input have to do with an answer. A method has `Options` and

NEEDS                            what it asks of a model: "answers" alone, "gradients", "attention" or "maps"
COMPLETE                         whether its scores add up to what the input changes in the answer
apply(asked, settings) -> scores (U,), a number for each unit: above 0 it speaks for the answer, below against it

Attribution is mostly captum's; a method says which of it, and how what it gives for each number of an input becomes a score for each unit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Asked:
    """One input, as a model sees it, and the number that is explained.

    answer      (K, ...) inputs like `seen` -> (K,) numbers; differentiable
    seen        (1, ...) embedded tokens, pixels, log-mel; the numbers of tokens where there are no slopes
    nothing     (1, ...) the same of an input that says nothing
    units       (1, ...) int64 the unit that each number of `seen` belongs to, num_units for none: what frames a text
    num_units   words of a text, patches of an image, cells of a sound
    slopes      whether `answer` has them: an engine's artefact has none
    attention   () -> (L, H, T, T) weights of the layers, with (T,) the unit of each position; None where the model has none
    maps        the last module that gives a map or a sequence (K, C, H, W) or (K, T, D) before all is drawn together; None where none does
    """

    answer: Callable[[Tensor], Tensor]
    seen: Tensor
    nothing: Tensor
    units: Tensor
    num_units: int
    slopes: bool = True
    attention: Callable[[], tuple[Tensor, Tensor]] | None = None
    maps: nn.Module | None = None

    def free(self) -> Tensor:
        """`seen`, of which slopes can be taken."""
        return self.seen.detach().clone().requires_grad_()

    def by_unit(self, each: Tensor) -> Tensor:
        """(U,) sums over the numbers (1, ...) of each unit."""
        found = torch.zeros(self.num_units + 1, dtype=torch.float64)
        return found.index_add(0, self.units.flatten(), each.detach().double().flatten().cpu())[: self.num_units]

    def looked_at(self, flow: Tensor, units: Tensor) -> Tensor:
        """(U,) how much of each unit reaches the position where the answer is read: the last of what reads in one direction, else the first
        where a token stands before the text, else the mean of all.

        flow    (T, T) of each position from each
        units   (T,) the unit of each position
        """
        forward = bool((flow.triu(1) == 0).all())
        reached = flow[-1] if forward else flow.mean(0) if units[0] < self.num_units else flow[0]
        return torch.zeros(self.num_units + 1, dtype=torch.float64).index_add(0, units, reached)[: self.num_units]

    def partly(self, there: Tensor) -> Tensor:
        """(K, ...) inputs of which only some units are there, the others say nothing.

        there   (K, U) bool
        """
        framed = torch.cat([there, torch.ones(len(there), 1, dtype=torch.bool)], 1)  # what belongs to no unit stays
        kept = framed[:, self.units.flatten()].view(len(there), *self.seen.shape[1:])
        return torch.where(kept.to(self.seen.device), self.seen, self.nothing)
