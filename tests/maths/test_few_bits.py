"""Rounding and packing, against compressed-tensors, whose layout it is."""

import pytest
import torch

from penjing.maths.few_bits import packed, restored, rounded, scales, unpacked

pytest.importorskip("compressed_tensors")
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import dequantize, quantize
from compressed_tensors.quantization.utils import calculate_qparams


def weights(num_outputs=24, inputs=96, seed=0):
    return torch.randn(num_outputs, inputs, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [16, 96])
def test_scales_numbers_and_weights_are_those_of_compressed_tensors(bits, group):
    weight = weights()
    scheme = QuantizationArgs(num_bits=bits, symmetric=True, strategy="group", group_size=group)
    parts = weight.unflatten(1, (-1, group))
    theirs, zero = calculate_qparams(parts.amin(-1), parts.amax(-1), scheme)
    scale = scales(weight, bits, group)
    torch.testing.assert_close(scale, theirs)
    whole = rounded(weight, scale, bits)
    assert torch.equal(whole, quantize(weight, scale, zero, scheme, dtype=torch.int8))
    assert torch.equal(restored(whole, scale), dequantize(whole, scale, zero, scheme))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("inputs", [64, 33, 1])
def test_words_are_those_of_compressed_tensors_and_become_the_numbers_again(bits, inputs):
    top = 2 ** (bits - 1)
    whole = torch.randint(-top, top, (5, inputs), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    words = packed(whole, bits)
    assert torch.equal(words, pack_to_int32(whole, bits))
    assert torch.equal(unpacked(words, bits, inputs), whole)
    assert torch.equal(unpack_from_int32(words, bits, whole.shape), whole)


@pytest.mark.parametrize("bits", [4, 8])
def test_no_weight_is_off_by_more_than_half_a_step(bits):
    weight = weights()
    scale = scales(weight, bits, 32)
    off = (restored(rounded(weight, scale, bits), scale) - weight).abs().unflatten(1, (-1, 32)) / scale[..., None]
    assert off.max() <= 0.5 + 1e-4


def test_a_group_of_zeros_stays_one():
    weight = torch.zeros(2, 16)
    scale = scales(weight, 4, 8)
    assert torch.equal(restored(rounded(weight, scale, 4), scale), weight)
