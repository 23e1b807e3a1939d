"""Rounding that makes up for itself, against the paper's equations worked out step by step."""

import pytest
import torch

from penjing.maths.few_bits import restored, rounded, scales
from penjing.methods.quantize import gptq


def layer(outputs=12, inputs=32, rows=400, seed=0):
    """A weight, and correlated inputs whose entries differ in size."""
    draw = torch.Generator().manual_seed(seed)
    mixed = torch.randn(inputs, inputs, generator=draw) / inputs**0.5 + torch.ones(inputs, inputs) / 4
    return torch.randn(outputs, inputs, generator=draw), torch.randn(rows, inputs, generator=draw) @ mixed


def by_the_paper(weight, hessian, scale, bits):
    """Equations 2 and 3 of Frantar et al.: after each input the inverse Hessian loses its row and column."""
    weight, damped = weight.double().clone(), hessian.double().clone()
    damped += gptq.DAMPING * damped.diagonal().mean() * torch.eye(len(damped))
    inverse, top = torch.linalg.inv(damped), 2 ** (bits - 1)
    columns = scale.double().repeat_interleave(weight.shape[1] // scale.shape[1], 1)
    whole = torch.zeros_like(weight)
    for q in hessian.diagonal().argsort(descending=True, stable=True):
        whole[:, q] = (weight[:, q] / columns[:, q]).round().clamp(-top, top - 1)
        error = (weight[:, q] - whole[:, q] * columns[:, q]) / inverse[q, q]
        weight -= error[:, None] * inverse[q]
        inverse -= torch.outer(inverse[:, q], inverse[q]) / inverse[q, q]
    return whole.to(torch.int8)


@pytest.mark.parametrize("block", [1, 7, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_numbers_are_those_of_the_papers_equations(block, bits):
    weight, inputs = layer()
    scale, hessian = scales(weight, bits, 8), inputs.T @ inputs
    found = gptq.quantized(weight, hessian, scale, bits, block)
    same = found.whole == by_the_paper(weight, hessian, scale, bits)
    assert same.float().mean() > 0.99  # a number that lies in the middle of two may go either way in fp32
    assert torch.equal(found.scale, scale)


@pytest.mark.parametrize("seed", range(3))
def test_outputs_on_correlated_inputs_are_nearer_than_by_rounding_to_the_nearest(seed):
    weight, inputs = layer(seed=seed)
    scale = scales(weight, 4, 32)

    def error(whole):
        return (inputs @ (restored(whole, scale) - weight).T).square().sum()

    assert error(gptq.quantized(weight, inputs.T @ inputs, scale, 4).whole) < 0.7 * error(rounded(weight, scale, 4))


def test_inputs_without_correlation_are_rounded_to_the_nearest():
    weight, _ = layer()
    scale = scales(weight, 4, 8)
    assert torch.equal(gptq.quantized(weight, torch.eye(32), scale, 4).whole, rounded(weight, scale, 4))


def test_an_input_that_is_always_zero_does_no_harm():
    weight, inputs = layer()
    inputs[:, :3] = 0
    scale = scales(weight, 4, 8)
    for some in (inputs, 0 * inputs):
        assert gptq.quantized(weight, some.T @ some, scale, 4).whole.abs().max() <= 8
