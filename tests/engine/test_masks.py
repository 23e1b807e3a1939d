"""Cheap dropout: it drops the share it is asked to, keeps the mean, and gives the gradients of torch's own for the same masks."""

import math

import pytest
import torch
import torch.nn.functional as F

from penjing.engine.masks import CheapMasks

KEY = (0, 1, 2)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_of_the_numbers_is_dropped_and_the_others_make_up_for_it(p, dtype):
    ones = torch.ones(997, 101, dtype=dtype)
    with CheapMasks(KEY):
        found = F.dropout(ones, p)
    dropped = (found == 0).double().mean().item()
    assert abs(dropped - p) < 4 * math.sqrt(p * (1 - p) / ones.numel())  # four standard deviations of a binomial share
    assert found.dtype == dtype and found.max().item() == pytest.approx(1 / (1 - p), rel=0.01 if dtype == torch.bfloat16 else 1e-6)


def test_masks_follow_from_the_key_alone_and_differ_from_call_to_call():
    ones = torch.ones(1000)
    drawn = []
    for key in (KEY, KEY, (0, 1, 3)):
        torch.manual_seed(len(drawn))
        with CheapMasks(key):
            drawn.append((F.dropout(ones), F.dropout(ones)))
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0]) and not torch.equal(drawn[0][0], drawn[0][1])


def test_neighbouring_numbers_are_dropped_independently():
    with CheapMasks(KEY):
        kept = (F.dropout(torch.ones(1 << 16), 0.3) > 0).double()
    for apart in (1, 2, 4, 16):
        together = torch.corrcoef(torch.stack([kept[:-apart], kept[apart:]]))[0, 1].item()
        assert abs(together) < 4 / math.sqrt(len(kept))


def test_modules_drop_in_training_alone():
    layer, ones = torch.nn.Dropout(0.5), torch.ones(100)
    with CheapMasks(KEY):
        assert (layer(ones) == 0).any()
        assert torch.equal(layer.eval()(ones), ones) and torch.equal(F.dropout(ones, 0.0), ones)


def test_padding_on_the_left_changes_no_position_that_is_read():
    """Its first queries see no key at all."""
    query, key, value = torch.randn(3, 2, 3, 6, 8)
    allowed = torch.ones(6, 6, dtype=torch.bool).tril() & (torch.arange(6) >= 2)
    alone = F.scaled_dot_product_attention(query[..., 2:, :], key[..., 2:, :], value[..., 2:, :], is_causal=True)
    with CheapMasks(KEY):
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[..., 2:, :], alone)


@pytest.mark.parametrize("how", ["causal", "bool mask", "float mask", "no mask"])
def test_attention_is_that_of_torch_where_nothing_or_next_to_nothing_is_dropped(how):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, size, 8, requires_grad=True) for size in (5, 5, 5))
    allowed = torch.rand(2, 1, 5, 5) > 0.3
    allowed[..., 0] = True
    added = torch.zeros(allowed.shape).masked_fill(~allowed, -torch.inf)
    given = {"causal": {"is_causal": True}, "bool mask": {"attn_mask": allowed}, "float mask": {"attn_mask": added}, "no mask": {}}[how]
    wanted = F.scaled_dot_product_attention(query, key, value, **given)
    with CheapMasks(KEY):
        torch.testing.assert_close(F.scaled_dot_product_attention(query, key, value, **given), wanted)
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=1e-9, **given)
    torch.testing.assert_close(found, wanted)
    for mine, own in zip(torch.autograd.grad(found.square().sum(), (query, key, value)),
                         torch.autograd.grad(wanted.square().sum(), (query, key, value))):  # fmt: skip
        torch.testing.assert_close(mine, own, atol=1e-5, rtol=1e-4)


def test_the_gradient_passes_where_the_number_passed():
    numbers = torch.randn(1000, requires_grad=True)
    with CheapMasks(KEY):
        found = F.dropout(numbers, 0.25)
    found.sum().backward()
    torch.testing.assert_close(numbers.grad, torch.where(found == 0, 0.0, 1 / 0.75))


def test_attention_drops_its_weights():
    query, key, value = torch.zeros(1, 1, 64, 4), torch.zeros(1, 1, 64, 4), torch.eye(64).expand(1, 1, 64, 64)
    with CheapMasks(KEY):
        weights = F.scaled_dot_product_attention(query, key, value, dropout_p=0.5)
    assert 0.45 < (weights == 0).double().mean().item() < 0.55 and weights.max().item() == pytest.approx(2 / 64)
