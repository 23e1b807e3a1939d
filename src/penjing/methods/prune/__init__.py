"""What is taken away. A method has `Options` (with `keep_share`), and

RECOVERS                                            whether what stays has to learn again
LOOKS                                               whether it looks at the batches of training rows that it is shown
fits(anatomy) -> bool                               whether the model has what the method removes
size(config, anatomy, wanted) -> int                of those that shape a student: how many can stay, nearest to what is wanted
apply(model, anatomy, shown, settings) -> Smaller   what stays; nothing is trained here

Only what the config can say is removed, so that the smaller model is an ordinary one; `weights` alone removes nothing, it leaves zeros.
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
    share        of what is counted, the part that stays once numbers are rounded
    zeros        names of the weights whose zeros stay zeros while the rest learns
    """

    changes: dict[str, Any]
    weights: dict[str, torch.Tensor]
    facts: dict[str, Any]
    processor: Any = None
    generation: Any = None
    share: float = 1.0
    zeros: tuple[str, ...] = ()
