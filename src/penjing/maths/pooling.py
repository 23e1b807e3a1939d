"""One vector for a text from those of its tokens.

Letters   N texts, T tokens, D numbers of a vector
"""

import torch
from torch import Tensor


def mean_of_tokens(states: Tensor, mask: Tensor) -> Tensor:
    """(N, D) fp32 of length 1: the mean of states (N, T, D) where the mask (N, T) is not 0, so that products of two are their cosine.

    Source: Reimers, Gurevych 2019, "Sentence-BERT", section 3: MEAN, the best of its three.
    """
    there = mask[..., None].float()
    return torch.nn.functional.normalize((states.float() * there).sum(1) / there.sum(1), dim=-1)
