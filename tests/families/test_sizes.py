"""Sizes that carry the name of a paper have the parameters that the paper prints."""

import pytest
import torch
from transformers import AutoModelForImageClassification, BertModel

from penjing.families import bert, resnet, vit


def parameters(build, config):
    with torch.device("meta"):
        return build(config).num_parameters()


@pytest.mark.parametrize(("blocks", "millions"), [(3, 0.27), (5, 0.46), (7, 0.66), (9, 0.85), (18, 1.7)])
def test_the_cifar_networks_of_he_et_al_have_their_parameters(blocks, millions):
    """Table 6: 20, 32, 44, 56, 110 layers; widths 16, 32, 64. Learnt shortcuts add 2,752 to their figures."""
    config = resnet.ResNetConfig(widths=[16, 32, 64], depths=[blocks] * 3, id2label=dict.fromkeys(range(10), ""))
    count = parameters(AutoModelForImageClassification.from_config, config) - (16 * 32 + 32 * 64 + 2 * (32 + 64))
    assert float(f"{count / 1e6:.2g}") == millions


@pytest.mark.parametrize(("size", "millions"), [("bert-tiny", 4.4), ("bert-mini", 11.2), ("bert-small", 28.8)])
def test_the_small_berts_of_turc_et_al_have_their_parameters(size, millions):
    """Sizes of the checkpoints that belong to the paper: encoder and pooler, 30,522 word pieces, 512 positions."""
    config = bert.config(size, {"labels": ["a", "b"], "vocab_size": 30522, "pad_token_id": 0, "max_length": 512})
    assert parameters(BertModel, config) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("size", "millions"), [("vit-tiny", 5.7), ("vit-small", 22.1)])
def test_the_small_transformers_of_touvron_et_al_have_their_parameters(size, millions):
    """At 224 pixels, patches of 16, a thousand classes."""
    config = vit.config(size, {"labels": list(map(str, range(1000))), "image_size": (224, 224), "channels": 3})
    assert config.patch_size == 16
    assert parameters(AutoModelForImageClassification.from_config, config) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(8, 8, 1), (16, 16, 2), (28, 28, 2), (32, 32, 4), (64, 64, 8), (32, 48, 4), (224, 224, 16), (5, 7, 1)],
)
def test_a_patch_divides_the_image_and_leaves_enough_of_them(height, width, side):
    assert vit.patch(height, width) == side
