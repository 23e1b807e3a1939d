"""Rates by depth: against the geometric series of the paper, on a model whose blocks are counted by hand."""

import pytest
from transformers import AutoModelForSequenceClassification, BertConfig

from penjing.core.contracts import Anatomy
from penjing.engine.anatomy import anatomy
from penjing.methods.finetune import Rate
from penjing.methods.finetune.full import Options, apply

DEPTHS = {  # of a BERT of three blocks: head, blocks from the last to the first, embedding
    "classifier.weight": 0,
    "bert.pooler.dense.weight": 0,
    "bert.encoder.layer.2.output.dense.weight": 1,
    "bert.encoder.layer.1.output.dense.bias": 2,
    "bert.encoder.layer.0.attention.self.query.weight": 3,
    "bert.embeddings.LayerNorm.weight": 4,
    "bert.embeddings.word_embeddings.weight": 4,
}


@pytest.fixture(scope="module")
def model():
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24)
    return AutoModelForSequenceClassification.from_config(config)


def test_without_options_every_weight_learns_at_once_and_alike(model):
    learner = apply(model, anatomy(model), Options())
    assert set(learner.rates) == {name for name, _ in model.named_parameters()} and set(learner.rates.values()) == {Rate(1.0, 0.0)}
    assert learner.model is learner.plain() is model


def test_each_lower_block_learns_by_the_same_factor_more_slowly_and_as_much_later(model):
    """Howard and Ruder divide by 2.6 from layer to layer, and thaw one layer after the other from the top."""
    rates = apply(model, anatomy(model), Options(layer_decay=1 / 2.6, unfreeze=0.5)).rates
    for name, depth in DEPTHS.items():
        assert rates[name] == Rate(pytest.approx(2.6**-depth), 0.5 * depth), name


def test_a_model_without_blocks_has_a_head_and_a_body(model):
    rates = apply(model, Anatomy(head=("classifier",)), Options(layer_decay=0.5)).rates
    assert rates["classifier.bias"].factor == 1 and {rate.factor for name, rate in rates.items() if "bert" in name} == {0.5}
