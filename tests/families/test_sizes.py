"""Sizes that carry the name of a paper have the parameters that the paper prints."""

import pytest
import torch
from transformers import AutoModelForImageClassification, AutoModelForSeq2SeqLM, BertModel, GPT2LMHeadModel

from penjing.engine.create import config_of
from penjing.families import resnet, vit


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
    config = config_of(size, {"labels": ["a", "b"], "vocab_size": 30522, "pad_token_id": 0, "max_length": 512})
    assert parameters(BertModel, config) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("size", "millions"), [("t5-tiny", 15.6), ("t5-mini", 31.2), ("t5-small", 60.5)])
def test_the_small_t5s_of_tay_et_al_have_their_parameters(size, millions):
    """With the 32,128 pieces of T5."""
    config = config_of(
        size, {"labels": [], "vocab_size": 32128, "pad_token_id": 0, "cls_token_id": 0, "eos_token_id": 1, "max_length": 512}
    )
    assert parameters(AutoModelForSeq2SeqLM.from_config, config) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_base_transformer_of_vaswani_et_al_has_its_parameters():
    """Table 3: 65 million, with about 37,000 pieces (section 5.1)."""
    config = config_of(
        "marian-base", {"labels": [], "vocab_size": 37000, "pad_token_id": 0, "cls_token_id": 2, "eos_token_id": 3, "max_length": 512}
    )
    with torch.device("meta"):
        learnt = [p for p in AutoModelForSeq2SeqLM.from_config(config).parameters() if p.requires_grad]
    assert sum(p.numel() for p in learnt) / 1e6 == pytest.approx(65, rel=0.04)


def test_the_base_gpt_has_the_parameters_of_the_checkpoint_gpt2():
    """124,439,808, as the hub counts them: 50,257 pieces, 1,024 positions; the paper prints 117 million, of an earlier count."""
    config = config_of("gpt-base", {"labels": [], "vocab_size": 50257, "pad_token_id": 0, "eos_token_id": 0, "max_length": 1024})
    assert parameters(GPT2LMHeadModel, config) == 124_439_808


@pytest.mark.parametrize(("size", "millions"), [("vit-tiny", 5.7), ("vit-small", 22.1)])
def test_the_small_transformers_of_touvron_et_al_have_their_parameters(size, millions):
    """At 224 pixels, patches of 16, a thousand classes."""
    config = config_of(size, {"labels": list(map(str, range(1000))), "image_size": (224, 224), "channels": 3})
    assert config.patch_size == 16
    assert parameters(AutoModelForImageClassification.from_config, config) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    ("height", "width", "side"),
    [(8, 8, 1), (16, 16, 2), (28, 28, 2), (32, 32, 4), (64, 64, 8), (32, 48, 4), (224, 224, 16), (5, 7, 1)],
)
def test_a_patch_divides_the_image_and_leaves_enough_of_them(height, width, side):
    assert vit.patch(height, width) == side
