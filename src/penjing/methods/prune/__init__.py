"""What is taken away. A method has `Options` (with `keep_share`), and

fits(anatomy) -> bool                                           whether the model has what the method removes
apply(model, anatomy, batches, loss, settings) -> Smaller       what stays; nothing is trained here

Only what the config can say is removed, so that the smaller model is an ordinary one.
"""

from typing import Any, NamedTuple

import torch


class Smaller(NamedTuple):
    """A smaller model: entries of the config that change, all of its weights, and what the card says of it."""

    changes: dict[str, Any]
    weights: dict[str, torch.Tensor]
    facts: dict[str, Any]
