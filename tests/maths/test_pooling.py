"""One vector for a text."""

import torch

from penjing.maths.pooling import mean_of_tokens


def test_padding_on_either_side_has_no_part_in_the_mean_and_the_vector_has_length_one():
    draw = torch.Generator().manual_seed(0)
    states, mask = torch.randn(3, 5, 4, generator=draw), torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    found = mean_of_tokens(states.bfloat16().float(), mask)
    for row, there in enumerate((slice(0, 2), slice(2, 5), slice(0, 5))):
        mean = states[row, there].bfloat16().float().mean(0)
        torch.testing.assert_close(found[row], mean / mean.norm())
