"""Closed forms against the equations and the tables of their papers."""

import pytest

from penjing.maths import cost
from penjing.maths.cost import Shape

GPT3 = Shape(96, 12288, 96, 4 * 12288, 51200, positions=2048, biases=frozenset({"query", "output", "feed-forward", "norm"}), dropout=True)
GPT_22B = Shape(48, 6144, 64, 4 * 6144, 51200, positions=2048, dropout=True)


@pytest.mark.parametrize("shape", [GPT3, GPT_22B])
@pytest.mark.parametrize(("tensor", "sequence"), [(1, False), (8, False), (8, True)])
def test_activations_are_equations_1_2_and_4_of_korthikanti_et_al(shape, tensor, sequence):
    s, b, h, a, t = 2048, 4, shape.hidden, shape.heads, tensor
    told = cost.activation_bytes(shape, s, b * s, fused=False, tensor=t, sequence=sequence)
    between = 10 / t if sequence else 10
    assert told == pytest.approx(s * b * h * (between + 24 / t + 5 * a * s / (h * t)))


def test_selective_recomputation_leaves_34_bytes_a_number_and_full_recomputation_two():
    """Table 2 of Korthikanti et al.: s b h 34 / t and 2 s b h."""
    s, b, h = 2048, 1, GPT3.hidden
    told = cost.activation_bytes(GPT3, s, b * s, fused=False, tensor=8, sequence=True, checkpointing="selective")
    assert told == pytest.approx(34 * s * b * h / 8)
    assert cost.activation_bytes(GPT3, s, b * s, checkpointing="full") == 2 * s * b * h


def test_operations_of_a_training_are_equation_2_of_narayanan_et_al():
    """96 B s l h² (1 + s / 6h + V / 16 l h) counts the head four times, recomputed too; here it is computed three times."""
    s, layers, h, v = 2048, GPT3.layers, GPT3.hidden, GPT3.vocabulary
    printed = 96 * layers * h**2 * (1 + s / (6 * h) + v / (16 * layers * h))
    assert cost.training_flops(GPT3, s, "full") == pytest.approx(printed, rel=1e-9)


def test_operations_are_those_of_palm():
    """Chowdhery et al. 2022, appendix B: 6 N + 12 L H Q T for a token."""
    palm = Shape(118, 18432, 48, 4 * 18432, 256000, kv_heads=1, head_size=256, gated=True)
    numbers = cost.parameters(palm).total
    told = 6 * numbers + 12 * 118 * 48 * 256 * 2048
    assert cost.training_flops(palm, 2048) == pytest.approx(told, rel=1e-4)


def test_the_cache_of_llama_2_and_of_deepseek_v2_is_as_printed():
    """Llama 2 7B at 4,096 tokens in 16 bits: 2 GiB; DeepSeek-V2 (table 1): 4.5 d_h numbers a block and token, d_h = 128."""
    llama = Shape(32, 4096, 32, 11008, 32000, gated=True, tied=False)
    assert cost.cache_bytes(llama, 4096) == 2 * 2**30
    deepseek = Shape(60, 5120, 128, 12288, 102400, head_size=192, value_size=128, query_rank=1536, latent=512, rotary=64)
    assert cost.cache_bytes(deepseek, 1, number=1) == 4.5 * 128 * 60


def test_a_window_bounds_what_is_kept_and_computed():
    whole = Shape(4, 64, 4, 256, 100)
    window = Shape(4, 64, 4, 256, 100, window=16, windowed_blocks=4)
    assert cost.cache_bytes(window, 1000) == cost.cache_bytes(whole, 16)
    assert cost.forward_flops(window, 1000).attention == cost.forward_flops(whole, 16).attention
    assert cost.forward_flops(window, 10) == cost.forward_flops(whole, 10)


def test_an_encoder_keeps_no_keys_and_values():
    assert cost.cache_bytes(Shape(4, 64, 4, 256, 100, causal=False), 100) == 0


def test_the_states_of_a_training_take_16_bytes_a_parameter():
    """Rajbhandari et al. 2020, section 3.1; 18 with fp32 gradients, as Megatron-LM keeps them."""
    assert sum(cost.PRECISIONS["mixed"][:3]) == sum(cost.PRECISIONS["autocast"][:3]) == sum(cost.PRECISIONS["fp32"][:3]) == 16
    assert sum(cost.PRECISIONS["mixed-fp32-gradients"][:3]) == 18


def test_the_bubble_is_that_of_narayanan_et_al():
    """Section 2.2: (p - 1) / m, and 1 / v of it with v stages a rank."""
    assert cost.bubble(8, 64) == 7 / 64 and cost.bubble(8, 64, 4) == 7 / 256 and cost.bubble(1, 5) == 0


def test_volumes_are_those_of_rings():
    """A reduce-scatter and a gather are an all-reduce: 2 (n - 1) / n of the bytes."""
    assert cost.all_reduce(1e9, 8) == 2 * cost.gather(1e9, 8) == 1.75e9 and cost.all_reduce(1e9, 1) == 0


def test_all_experts_are_read_for_many_rows_and_a_token_meets_its_own_for_one():
    mixtral = Shape(
        32, 4096, 32, 14336, 32000, kv_heads=8, gated=True, tied=False, experts=8, active_experts=2, expert_size=14336
    )  # fmt: skip
    found = cost.parameters(mixtral)
    assert cost.read_numbers(mixtral, 1) == pytest.approx(found.active - found.embedding)
    assert cost.read_numbers(mixtral, 10_000) == pytest.approx(found.total - found.embedding)
