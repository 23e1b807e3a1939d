"""Heads, hidden width, neurons and single weights, on tiny models of many architectures, made from their configs."""

import copy

import pytest
import torch
import torch.nn.utils.prune
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MixtralConfig,
    ModernBertConfig,
    Qwen3Config,
    RobertaConfig,
    RoFormerConfig,
    T5Config,
    ViTConfig,
    Wav2Vec2Config,
)
from transformers.pytorch_utils import Conv1D

from penjing.core.contracts import Batch, RowLoss
from penjing.core.errors import OptionError
from penjing.engine.anatomy import with_weights
from penjing.engine.load import quiet_transformers
from penjing.engine.smaller import zeros_of
from penjing.engine.widths import dissected
from penjing.methods.prune import Shown, feed_forward, heads, hidden, layers, weights
from penjing.methods.prune._units import Place, importance

TEXT, CAUSAL, PAIR = AutoModelForSequenceClassification, AutoModelForCausalLM, AutoModelForSeq2SeqLM
SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
WORDS = {"vocab_size": 30, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {"layers": 2, "attention_heads": 4, "ffn_dim": 96}
TWO = {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in SIZES.items()}
TWO |= {"decoder_start_token_id": 0, "max_position_embeddings": 20}
SPEECH = {"conv_dim": (4,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
MODELS = {  # (Auto class, config, whether heads can change alone, whether the hidden width can, whether without them)
    "bert": (TEXT, BertConfig(**WORDS, **SMALL), False, True, False),
    "distilbert": (TEXT, DistilBertConfig(**WORDS, dim=64, n_layers=2, n_heads=4, hidden_dim=96), False, True, False),
    "roberta": (TEXT, RobertaConfig(**WORDS, **SMALL), False, True, False),
    "roformer": (TEXT, RoFormerConfig(**WORDS, **SMALL, max_position_embeddings=20), False, True, False),
    "electra": (TEXT, ElectraConfig(**WORDS, **SMALL, embedding_size=32), False, True, False),
    "modernbert": (TEXT, ModernBertConfig(**WORDS, **SMALL, cls_token_id=1, sep_token_id=2), False, True, False),
    "llama": (CAUSAL, LlamaConfig(**WORDS, **SMALL, num_key_value_heads=2, tie_word_embeddings=True), True, True, True),
    "qwen3": (CAUSAL, Qwen3Config(**WORDS, **SMALL, num_key_value_heads=2, head_dim=8), True, True, True),
    "mixtral": (CAUSAL, MixtralConfig(**WORDS, **SMALL, num_key_value_heads=2, num_local_experts=2), True, True, True),
    "gpt2": (CAUSAL, GPT2Config(**WORDS, n_embd=64, n_head=4, n_layer=2, n_positions=20), False, True, False),
    "vit": (AutoModelForImageClassification, ViTConfig(image_size=8, patch_size=4, **SMALL), True, True, True),
    "t5": (PAIR, T5Config(**WORDS, d_model=64, d_kv=8, num_heads=4, num_layers=2, d_ff=96), False, True, True),
    "marian": (PAIR, MarianConfig(**WORDS, **TWO, d_model=64), False, True, False),
    "bart": (PAIR, BartConfig(**WORDS, **TWO, d_model=64), False, True, False),
    "wav2vec2": (AutoModelForAudioClassification, Wav2Vec2Config(**WORDS, **SPEECH, **SMALL), False, False, False),
    "deberta": (TEXT, DebertaV2Config(**WORDS, **SMALL), False, False, False),
}
WIDE = [name for name, made in MODELS.items() if made[3]]
FREE_HEADS = [name for name, made in MODELS.items() if made[2]]


def made(name):
    """A model with drawn weights, and inputs for it."""
    auto, config, *_ = MODELS[name]
    torch.manual_seed(0)
    with quiet_transformers():
        model = auto.from_config(copy.deepcopy(config)).eval()
    for key, each in model.named_parameters():  # norms and biases too, else all units of these are equal
        if key not in (model._keys_to_ignore_on_save or ()):
            each.data += 0.1 * torch.randn_like(each)
    tokens = torch.arange(3, 13).view(2, 5)
    inputs = {"input_ids": tokens, **({"decoder_input_ids": tokens + 1} if auto is PAIR else {})}
    return model, {"pixel_values": torch.randn(2, 3, 8, 8)} if name == "vit" else inputs


def shown(model, inputs):
    def loss(outputs, _):
        return RowLoss(outputs.logits.square().flatten(1).sum(1), torch.ones(2))

    return Shown(model.state_dict(), [Batch(inputs, {}, torch.arange(2))], loss, None, None)


@pytest.mark.parametrize("name", MODELS)
def test_heads_and_hidden_width_are_told_where_the_config_can_say_them(name):
    parts = dissected(made(name)[0])
    assert (heads.fits(parts), hidden.fits(parts), parts.hidden.free) == MODELS[name][2:]


@pytest.mark.parametrize("method", [heads, hidden, feed_forward])
@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name][3]])
def test_a_narrower_model_is_what_transformers_makes_of_its_files_and_the_whole_one_is_as_it_was(name, method, tmp_path):
    model, inputs = made(name)
    parts, auto = dissected(model), MODELS[name][0]
    if not method.fits(parts):
        pytest.skip(f"{method.__name__} does not fit {name}")
    for share in (1.0, 0.5):
        for kind in ("taylor", "activations", "magnitude"):
            small = method.apply(model, parts, shown(model, inputs), method.Options(keep_share=share, importance=kind))
            narrow = with_weights(model, small.changes, small.weights)
            found = narrow(**inputs).logits
            if share == 1.0:
                torch.testing.assert_close(found, model(**inputs).logits)
                assert small.share == 1 and small.facts["importance_lost_share"] == 0
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in model.parameters()) and small.share < 1
    with quiet_transformers():
        narrow.save_pretrained(tmp_path)
        again = auto.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(again(**inputs).logits, found)


@pytest.mark.parametrize("name", [name for name in WIDE if name != "marian"])  # its sines are in an order
def test_channels_that_are_counted_everywhere_can_stand_in_any_order(name):
    model, inputs = made(name)
    (_, tensors), state = dissected(model).hidden.sets[0], dict(model.state_dict())
    order = torch.randperm(64)
    for key, dimension in tensors:
        state[key] = state[key].index_select(dimension, order)
    torch.testing.assert_close(with_weights(model, {}, state)(**inputs).logits, model(**inputs).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FREE_HEADS)
def test_a_model_without_a_head_is_the_whole_one_whose_head_is_not_read(name):
    model, inputs = made(name)
    parts = dissected(model)
    small = heads.apply(model, parts, shown(model, inputs), heads.Options(keep_share=0.5))
    narrow = with_weights(model, small.changes, small.weights)
    for output, _ in parts.heads.sets:
        weight, left = model.get_parameter(f"{output}.weight").data, narrow.get_parameter(f"{output}.weight")
        weight *= torch.tensor([bool((column == left.T).all(1).any()) for column in weight.T])
    torch.testing.assert_close(narrow(**inputs).logits, model(**inputs).logits)


def test_heads_that_share_keys_and_values_go_together():
    model, inputs = made("llama")
    parts = dissected(model)
    assert heads.size(model.config, parts, 3) == 4 and heads.size(model.config, parts, 2.9) == 2
    small = heads.apply(model, parts, shown(model, inputs), heads.Options(keep_share=0.5))
    assert small.changes == {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}


def test_numbers_that_a_config_refuses_are_passed_over():
    """Llama wants a width that its heads divide, Electra builds one otherwise that is as wide as its tokens."""
    llama = LlamaForCausalLM(LlamaConfig(**WORDS, **{**SMALL, "hidden_size": 96, "num_attention_heads": 6}))
    parts = dissected(llama)
    assert [hidden.size(llama.config, parts, wanted) for wanted in (1, 40, 60, 1000)] == [24, 48, 72, 96]
    assert [heads.size(llama.config, parts, wanted) for wanted in (1, 4.4, 5, 1000)] == [1, 4, 6, 6]
    electra, _ = made("electra")
    assert hidden.size(electra.config, dissected(electra), 32) == 48


def test_a_block_stays_of_the_kind_that_it_was():
    """Of eight blocks, every third of which looks at the whole text."""
    model = TEXT.from_config(ModernBertConfig(**WORDS, **{**SMALL, "num_hidden_layers": 8}, cls_token_id=1, sep_token_id=2))
    kinds = model.config.layer_types
    small = layers.apply(model, dissected(model), shown(model, {}), layers.Options(keep_share=0.5))
    config = with_weights(model, small.changes, small.weights).config
    assert config.layer_types == [kinds[number] for number in (0, 2, 5, 7)] != kinds[:4]
    assert config.num_hidden_layers == len(config.layer_types) == 4


def test_where_heads_are_as_wide_as_the_model_as_many_go_with_it():
    model, inputs = made("bert")
    small = hidden.apply(model, dissected(model), shown(model, inputs), hidden.Options(keep_share=0.7))
    assert small.changes == {"hidden_size": 48, "num_attention_heads": 3} and small.facts["heads"] == "3 of 4"


def test_sines_of_positions_stay_sines_of_about_the_same_places():
    model, inputs = made("marian")
    small = hidden.apply(model, dissected(model), shown(model, inputs), hidden.Options(keep_share=0.5))
    narrow = with_weights(model, small.changes, small.weights)
    fresh, cut = (each["model.encoder.embed_positions.weight"] for each in (narrow.state_dict(), small.weights))
    assert fresh.shape == cut.shape
    sines = MODELS["marian"][0].from_config(model.config).model.encoder.embed_positions.weight
    kept = [int((small.weights["model.shared.weight"][:, i, None] == model.model.shared.weight).all(0).nonzero()) for i in range(32)]
    assert (fresh - sines[:, kept]).abs().mean() < 0.2 * (fresh - sines[:, :32]).abs().mean()


def test_taylor_importance_of_a_linear_model_is_the_change_of_the_loss():
    """For a loss that is linear in the activations, |activation x gradient| is exactly what silencing a unit changes."""
    torch.manual_seed(0)
    narrow = torch.nn.Linear(6, 1, bias=False)
    model = torch.nn.Sequential(torch.nn.Linear(3, 6), narrow)
    inputs = torch.rand(1, 3)
    model.register_forward_pre_hook(lambda module, args, kwargs: ((kwargs.pop("x"),), kwargs), with_kwargs=True)
    batch = Batch({"x": inputs}, {}, torch.zeros(1, dtype=torch.int64))
    rows = Shown({}, [batch], lambda outputs, _: RowLoss(outputs[:, 0], torch.ones(1)), None, None)
    each = model[0](inputs)[0] * narrow.weight[0]
    for total in (6, 3):
        (scores,) = importance(model, "taylor", [Place("1", total)], rows)
        torch.testing.assert_close(scores, each.view(total, -1).sum(1).abs().detach())
    (given,) = importance(model, "activations", [Place("0", 6, gives=True)], rows)
    torch.testing.assert_close(given, model[0](inputs)[0].abs().detach())


def test_the_most_important_units_by_magnitude_are_those_with_the_longest_weights():
    model, inputs = made("bert")
    parts = dissected(model)
    small = feed_forward.apply(model, parts, shown(model, inputs), feed_forward.Options(importance="magnitude"))
    ((widen,), narrow), *_ = parts.feed_forward
    before, after = (model.get_submodule(path) for path in (widen, narrow))
    length = (before.weight.square().sum(1) + after.weight.square().sum(0)).sqrt()
    torch.testing.assert_close(small.weights[f"{widen}.weight"], before.weight[length.topk(48).indices.sort().values])


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_wanda_leaves_in_each_row_what_is_large_times_its_input(name):
    model, inputs = made(name)
    parts, read = dissected(model), {}
    path = f"{parts.blocks[1]}." + {"bert": "intermediate.dense", "gpt2": "mlp.c_fc"}[name]
    handle = model.get_submodule(path).register_forward_hook(lambda _, given, output: read.update(all=given[0].detach()))
    small = weights.apply(model, parts, shown(model, inputs), weights.Options(keep_share=0.25))
    handle.remove()
    turned = (lambda each: each.T) if isinstance(model.get_submodule(path), Conv1D) else (lambda each: each)
    weight, left = (turned(each[f"{path}.weight"]) for each in (model.state_dict(), small.weights))
    score = weight.abs() * torch.linalg.vector_norm(read["all"].flatten(0, 1), dim=0)
    wanted = score >= score.topk(16, 1).values[:, -1:]
    torch.testing.assert_close(left, weight * wanted)
    assert zeros_of(small.weights, small.zeros)["zero_share"] == pytest.approx(0.75, abs=0.01) and f"{path}.weight" in small.zeros


def test_magnitude_is_what_torchs_own_pruning_leaves():
    model, inputs = made("bert")
    small = weights.apply(model, dissected(model), shown(model, inputs), weights.Options(keep_share=0.3, importance="magnitude"))
    path = "bert.encoder.layer.0.output.dense"
    layer = model.get_submodule(path)
    torch.nn.utils.prune.l1_unstructured(layer, "weight", amount=layer.weight.numel() - round(0.3 * layer.weight.numel()))
    torch.testing.assert_close(small.weights[f"{path}.weight"], layer.weight)


def test_of_four_neighbours_two_stay_and_of_what_is_zero_already_nothing_more_goes():
    model, inputs = made("vit")
    parts = dissected(model)
    small = weights.apply(model, parts, shown(model, inputs), weights.Options(pattern="2:4"))
    for name in small.zeros:
        assert (small.weights[name].unflatten(1, (-1, 4)).count_nonzero(-1) == 2).all()
    pruned = with_weights(model, {}, small.weights)
    again = weights.apply(pruned, parts, shown(pruned, inputs), weights.Options(pattern="2:4"))
    assert all(torch.equal(again.weights[name], small.weights[name]) for name in small.zeros)
    half = weights.apply(pruned, parts, shown(pruned, inputs), weights.Options(keep_share=0.5))
    assert zeros_of(half.weights, half.zeros)["zero_share"] == pytest.approx(0.75, abs=0.01)


def test_a_pattern_fixes_the_share():
    with pytest.raises(OptionError, match=r"--pattern 2:4 leaves two of four weights, and --keep-share is 0\.4"):
        weights.Options(keep_share=0.4, pattern="2:4")
