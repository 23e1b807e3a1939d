"""What tasks have in common that answer by the nearest of some vectors: texts as the means of an encoder's last states.

Letters   N texts, T tokens, D numbers of a state, C vectors
"""

from typing import Any

import torch
from torch import Tensor

from penjing.core.contracts import Batch
from penjing.maths.pooling import mean_of_tokens

SHARPNESS = 20.0  # by which a cosine becomes a logit, and so how sure an answer is said to be


def vectors(outputs: Any, batch: Batch) -> Tensor:
    """(N, D) of length 1."""
    states = outputs.last_hidden_state  # (N, T, D)
    return mean_of_tokens(states, batch.inputs["attention_mask"].to(states.device))


def nearness(outputs: Any, batch: Batch, to: Tensor) -> Tensor:
    """(N, C) logits: SHARPNESS x cosine of each text with each row of `to` (C, D)."""
    found = vectors(outputs, batch)
    return SHARPNESS * found @ torch.nn.functional.normalize(to.to(found.device), dim=-1).T
