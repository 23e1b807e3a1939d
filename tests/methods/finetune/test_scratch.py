"""Another draw of the same architecture."""

import torch
from transformers import AutoModelForSequenceClassification, BertConfig

from penjing.core.contracts import Anatomy
from penjing.methods.finetune.scratch import Options, apply


def drawn(model, seed):
    torch.manual_seed(seed)
    return apply(model, Anatomy(), Options()).plain()


def test_weights_are_drawn_anew_from_the_seed_and_the_given_ones_are_left_alone():
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    given = AutoModelForSequenceClassification.from_config(config)
    before = {name: value.clone() for name, value in given.state_dict().items()}
    first, again, other = (drawn(given, seed).state_dict() for seed in (1, 1, 2))
    name = "bert.encoder.layer.0.output.dense.weight"
    assert (
        torch.equal(first[name], again[name]) and not torch.equal(first[name], other[name]) and not torch.equal(first[name], before[name])
    )
    assert {key: value.shape for key, value in first.items()} == {key: value.shape for key, value in before.items()}
    assert abs(first[name].std().item() - config.initializer_range) < 0.005  # as BERT draws them
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())
