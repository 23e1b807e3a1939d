"""Losses against torch's own, forward and backward, and against the definition in numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, log_softmax, rel_entr, softmax

from penjing.maths import losses
from penjing.maths.losses import binary_cross_entropy, cross_entropy, divergence, kl, squared_error


@pytest.fixture(params=["whole", "in chunks"])
def chunk(request, monkeypatch):
    if request.param == "in chunks":
        monkeypatch.setattr(losses, "CHUNK", 20)  # 2 rows of 7 classes


def _logits(*shape, seed=0, dtype=torch.float32):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_cross_entropy_of_each_row_and_its_gradient_are_those_of_torch_in_fp32(chunk, dtype):
    logits, targets = _logits(9, 7, dtype=dtype), torch.tensor([0, 6, -100, 3, 3, -100, 1, 2, 5])
    loss = cross_entropy(logits, targets)
    loss.mean().backward()
    again = logits.detach().clone().requires_grad_()
    expected = F.cross_entropy(again.to(torch.promote_types(dtype, torch.float32)), targets)
    expected.backward()
    torch.testing.assert_close(loss.mean(), expected)
    torch.testing.assert_close(logits.grad, again.grad)
    assert loss.count.tolist() == [1, 1, 0, 1, 1, 0, 1, 1, 1] and loss.total[2] == 0


def test_cross_entropy_of_token_targets_is_summed_over_each_row(chunk):
    logits, targets = _logits(3, 4, 7), torch.tensor([[1, 2, -1, -1], [0, 0, 0, 0], [-1, -1, -1, -1]])
    loss = cross_entropy(logits, targets, ignore=-1)
    expected = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-1, reduction="none").sum(1)
    torch.testing.assert_close(loss.total, expected)
    assert loss.count.tolist() == [2, 4, 0]


def test_logits_in_half_precision_are_upcast_before_the_softmax_not_after():
    """In bfloat16 itself 1 part in 256 is lost; from the same bfloat16 logits fp32 gives 1 part in 10 million."""
    logits, targets = _logits(50, 1000, dtype=torch.bfloat16), torch.arange(50)
    exact = -log_softmax(logits.detach().double().numpy(), 1)[range(50), range(50)]
    assert cross_entropy(logits, targets).total.dtype == torch.float32
    np.testing.assert_allclose(cross_entropy(logits, targets).total.detach(), exact, rtol=2e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_binary_cross_entropy_and_its_gradient_are_those_of_torch_in_fp32(chunk, dtype):
    logits, targets = _logits(9, 7, dtype=dtype), (_logits(9, 7, seed=1).detach() > 0).float()
    loss = binary_cross_entropy(logits, targets)
    loss.mean().backward()
    again = logits.detach().clone().requires_grad_()
    expected = F.binary_cross_entropy_with_logits(again.float(), targets)  # its mean is over rows and labels
    expected.backward()
    torch.testing.assert_close(loss.mean(), expected)
    torch.testing.assert_close(logits.grad, again.grad)
    assert loss.count.tolist() == [7] * 9 and loss.total.dtype == torch.float32


def test_squared_error_is_that_of_torch_row_by_row():
    values, targets = _logits(9, dtype=torch.bfloat16), _logits(9, seed=1).detach()
    loss = squared_error(values, targets)
    torch.testing.assert_close(loss.total, F.mse_loss(values.float(), targets, reduction="none"))
    assert loss.count.tolist() == [1] * 9


def test_divergence_of_numbers_is_their_squared_difference_and_of_distributions_kl():
    student, teacher = _logits(9, 1).detach(), _logits(9, 1, seed=1).detach()
    torch.testing.assert_close(divergence(student, teacher, 5.0), (student - teacher).square()[:, 0])
    student, teacher = _logits(9, 7).detach(), _logits(9, 7, seed=1).detach()
    torch.testing.assert_close(divergence(student, teacher, 5.0), kl(student, teacher, 5.0))


def test_kl_of_no_and_yes_is_that_of_two_coins():
    """How labels that do not exclude each other are distilled: logits 0 and z are a coin of chance sigmoid(z)."""
    student, teacher = _logits(9).detach(), _logits(9, seed=1).detach()
    pairs = [torch.stack([torch.zeros(9), z], -1) for z in (student, teacher)]
    q, p = (expit(x.double().numpy()) for x in (student, teacher))
    np.testing.assert_allclose(kl(*pairs), rel_entr(p, q) + rel_entr(1 - p, 1 - q), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_kl_is_the_relative_entropy_of_the_softened_teacher_times_temperature_squared(chunk, temperature):
    student, teacher = _logits(9, 7, seed=1).detach(), _logits(9, 7, seed=2).detach()
    p, q = (softmax(x.double().numpy() / temperature, 1) for x in (teacher, student))
    expected = rel_entr(p, q).sum(1) * temperature**2
    np.testing.assert_allclose(kl(student, teacher, temperature), expected, rtol=1e-4)


def test_gradient_of_kl_is_temperature_times_the_difference_of_the_softened_shares(chunk):
    """Hinton 2015, equation 2: d/dz = (q - p) / T for the unscaled loss; times T squared."""
    student, teacher = _logits(9, 7, seed=1), _logits(9, 7, seed=2).detach()
    kl(student, teacher, 4.0).sum().backward()
    torch.testing.assert_close(student.grad, 4.0 * ((student / 4).softmax(1) - (teacher / 4).softmax(1)).detach())


def test_kl_of_equal_logits_is_zero_and_half_precision_gives_fp32(chunk):
    logits = _logits(9, 7, dtype=torch.bfloat16).detach()
    assert kl(logits, logits).abs().max() < 1e-6 and kl(logits, logits).dtype == torch.float32


def test_no_entries_give_no_losses():
    assert cross_entropy(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64)).total.shape == (0,)
    assert kl(torch.zeros(0, 7), torch.zeros(0, 7)).shape == (0,)


def test_chunks_keep_one_chunk_in_fp32_not_all(monkeypatch):
    """What autograd saves of bfloat16 logits is their gradient, not their fp32 softmax."""
    monkeypatch.setattr(losses, "CHUNK", 20)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.dtype) or x, lambda x: x):
        cross_entropy(_logits(9, 7, dtype=torch.bfloat16), torch.zeros(9, dtype=torch.int64))
    assert torch.float32 not in saved[-1:] and len(saved) > 4, "the last is saved of all, those before it of a chunk each"


def test_a_small_gradient_of_fp16_logits_is_not_lost_before_it_is_scaled(monkeypatch):
    """A share of 1e-8 is nothing in fp16, whose smallest number is 6e-8; times a loss scale of 65,536 it is 6.6e-4."""
    monkeypatch.setattr(losses, "CHUNK", 4)
    logits = torch.tensor([[0.0, 18.4], [0.0, 18.4], [0.0, 18.4]], dtype=torch.float16, requires_grad=True)
    (cross_entropy(logits, torch.ones(3, dtype=torch.int64)).total.sum() * 65536).backward()
    assert logits.grad[:, 0].tolist() == pytest.approx([65536 / (1 + np.exp(18.4))] * 3, rel=0.05)
