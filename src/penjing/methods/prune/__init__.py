"""What is taken away. A method has `Options` (with `keep_share`), and

RECOVERS                                            whether what stays has to learn again
fits(anatomy) -> bool                               whether the model has what the method removes
apply(model, anatomy, shown, settings) -> Smaller   what stays; nothing is trained here

Only what the config can say is removed, so that the smaller model is an ordinary one.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch

from penjing.core.contracts import Batch, RowLoss


class Shown(NamedTuple):
    """What a method may look at.

    batches     some training rows
    loss        of what the model makes of them
    processor   its tokenizer, or what else reads its inputs
    tokens      how often each token stands in all training rows
    """

    batches: Iterable[Batch]
    loss: Callable[[Any, Batch], RowLoss]
    processor: Any
    tokens: Callable[[], Counter[int]]


class Smaller(NamedTuple):
    """A smaller model.

    changes      entries of the config that change
    weights      all of its weights
    facts        what the card says of it
    processor    a tokenizer, where that changes; None for the same
    generation   a generation_config, where that changes
    """

    changes: dict[str, Any]
    weights: dict[str, torch.Tensor]
    facts: dict[str, Any]
    processor: Any = None
    generation: Any = None
