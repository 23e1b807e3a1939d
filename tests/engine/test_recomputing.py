"""Gradient checkpointing: gradients, losses and statistics to the bit as without it, dropout included, from fewer kept bytes."""

import copy

import pytest
import torch
import transformers as hf

import penjing
from penjing.core.errors import ModelError
from penjing.core.find import find
from penjing.engine.anatomy import anatomy
from penjing.engine.load import register_families
from penjing.engine.masks import CheapMasks
from penjing.engine.recomputing import recomputing
from penjing.engine.regularizers import REPEATS, agreeing
from penjing.engine.train import State, train
from tests.engine.test_dropping import FAMILIES, built
from tests.engine.test_train import METHODS, TASKS, started
from tests.families.test_every_family import MEDIA, fresh, inputs_of

KEY = (0, 1, 2)


def learnt_from(model, inputs, blocks, dtype=None):
    """Gradients and buffers after a pass forward and backward."""
    model, masks = copy.deepcopy(model).train(), CheapMasks(KEY)
    torch.manual_seed(1)
    with torch.autocast("cpu", dtype, enabled=dtype is not None), masks, recomputing(model, blocks, masks):
        found = model(**inputs)[0]
    found.float().square().mean().backward()
    return {**{n: p.grad for n, p in model.named_parameters() if p.grad is not None}, **dict(model.named_buffers())}


def assert_alike(model, inputs, dtype=None):
    blocks = anatomy(model).blocks
    assert blocks
    wanted, found = (learnt_from(model, inputs, some, dtype) for some in ((), blocks))
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        shared = model.config.is_encoder_decoder and torch.allclose(found[name], value, rtol=1e-4, atol=1e-7)
        assert torch.equal(found[name], value) or shared, name  # one table sums what comes to it from three places, in their order


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("family", "media"), MEDIA)
def test_every_family_learns_the_same(family, media, dtype):
    register_families()
    torch.manual_seed(0)
    model = fresh(family, next(iter(find("families", family).SIZES)), media)
    assert_alike(model, inputs_of(model, media), dtype)


@pytest.mark.parametrize("name", FAMILIES)
def test_models_of_transformers_learn_the_same(name):
    assert_alike(built(name)[0], FAMILIES[name][2])


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_model_that_would_keep_keys_and_values_learns_the_same_and_keeps_its_config(name):
    _, config, inputs = FAMILIES[name]
    config = copy.deepcopy(config)
    config.use_cache, config.num_labels, config.pad_token_id = True, 3, 0
    model = hf.AutoModelForSequenceClassification.from_config(config)
    assert_alike(model, {**inputs, "attention_mask": torch.tensor([[1] * 9 + [0] * 3])})
    assert model.config.use_cache


@pytest.mark.parametrize(
    ("task_name", "method", "options"),
    [
        *((task_name, "full", {}) for task_name in TASKS),
        *(("text-classification", method, {}) for method in METHODS if method != "full"),
        ("text-classification", "full", {"parts": 3}),
        ("text-classification", "full", {"precision": "bf16", "dropout": 0.3}),
    ],
)
def test_a_training_takes_the_same_steps_to_the_same_weights(task_name, method, options, runtime):
    given = {"method": method, "settings": METHODS[method], "epochs": 2, **options}
    (plain, task), (again, _) = (started(task_name, runtime, gradient_checkpointing=on, **given) for on in (False, True))
    losses = [[step.loss for step in train(state, task.loss)] for state in (plain, again)]
    assert losses[0] == losses[1]
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_a_loss_that_compares_two_draws_of_dropout_is_the_same(runtime):
    losses = []
    for on in (False, True):
        state, task = started("text-classification", runtime, gradient_checkpointing=on)
        state = State(state.learner, state.encoded, state.options, runtime, REPEATS)
        losses.append([step.loss for step in train(state, agreeing(task, 1.0))])
    assert losses[0] == losses[1]


def kept_bytes(model, inputs, blocks):
    """Of what autograd keeps for the backward pass, each piece of memory once, and the weights not at all."""
    known, kept = {p.untyped_storage().data_ptr() for p in model.parameters()}, {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage  # held, so that no other takes its place
        return tensor

    masks = CheapMasks(KEY)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), masks, recomputing(model, blocks, masks):
        found = model(**inputs)[0]
    found.sum().backward()
    return sum(storage.nbytes() for storage in kept.values())


def test_of_each_block_only_its_input_is_kept():
    config = hf.BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=8, num_attention_heads=2, intermediate_size=64)
    model = hf.BertModel(config, add_pooling_layer=False).train()
    rows, length = 4, 64
    inputs = {"input_ids": torch.ones(rows, length, dtype=torch.int64)}
    blocks = anatomy(model).blocks
    outside = kept_bytes(hf.BertModel(config, add_pooling_layer=False).train(), inputs, blocks) - 8 * rows * length * 32 * 4
    shallow = copy.deepcopy(config)
    shallow.num_hidden_layers = 1
    one = hf.BertModel(shallow, add_pooling_layer=False).train()
    assert outside == kept_bytes(one, inputs, anatomy(one).blocks) - rows * length * 32 * 4  # what lies outside of the blocks
    assert kept_bytes(model, inputs, blocks) < 0.15 * kept_bytes(model, inputs, ())


def test_after_a_pass_the_blocks_are_as_they_were(runtime):
    state, task = started("text-classification", runtime, gradient_checkpointing=True)
    next(train(state, task.loss))
    assert not any("forward" in vars(module) for module in state.model.modules())


def test_a_model_without_blocks_is_refused_before_rows_are_read(tmp_path):
    config = hf.MobileNetV2Config(depth_multiplier=0.1, finegrained_output=False, num_labels=2)
    hf.MobileNetV2ForImageClassification(config).save_pretrained(tmp_path / "blockless")
    words = {"task": "image-classification", "out": tmp_path / "out", "gradient_checkpointing": True}
    with pytest.raises(ModelError, match="--gradient-checkpointing is for models made of blocks, and one of type mobilenet_v2 has none"):
        penjing.finetune(tmp_path / "blockless", tmp_path / "no-rows.csv", **words)
