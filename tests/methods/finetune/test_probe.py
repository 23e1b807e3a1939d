"""Only the head learns, and only it is in training mode; that the body then keeps still is tested with the loop."""

from transformers import AutoModelForSequenceClassification, BertConfig

from penjing.core.contracts import Anatomy
from penjing.engine.anatomy import anatomy
from penjing.methods.finetune.probe import Options, apply, fits


def test_pooler_and_classifier_learn_and_are_all_that_is_in_training_mode():
    config = BertConfig(vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    model = AutoModelForSequenceClassification.from_config(config)
    learner = apply(model, anatomy(model), Options())
    assert set(learner.rates) == {f"{layer}.{part}" for layer in ("bert.pooler.dense", "classifier") for part in ("weight", "bias")}
    assert learner.active == ("bert.pooler", "dropout", "classifier") and learner.plain() is model


def test_a_model_whose_head_is_not_known_does_not_fit():
    assert not fits(Anatomy(blocks=("layers.0",)))
