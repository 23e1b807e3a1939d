"""What is head and what is body, told from the shape of a model: each architecture is a tiny one, made from its config."""

import pytest
import torch
from transformers import (
    ASTConfig,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    LlamaConfig,
    ResNetConfig,
    RobertaConfig,
    ViTConfig,
    Wav2Vec2Config,
    WhisperConfig,
)

from penjing.core.find import find, names
from penjing.engine.anatomy import anatomy, with_weights
from penjing.engine.create import config_of, of_size
from penjing.engine.load import register_families
from penjing.methods.prune import Shown, layers

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
SPEECH = {"conv_dim": (4,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
WHISPER = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "vocab_size": 30}
TEXT, IMAGE, SOUND = AutoModelForSequenceClassification, AutoModelForImageClassification, AutoModelForAudioClassification
MODELS = {  # (Auto class, config, linears of each block, modules of the head that have weights)
    "bert": (TEXT, BertConfig(vocab_size=30, **SMALL), 6, {"bert.pooler", "classifier"}),
    "distilbert": (
        TEXT,
        DistilBertConfig(vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=24),
        6,
        {"pre_classifier", "classifier"},
    ),
    "roberta": (TEXT, RobertaConfig(vocab_size=30, **SMALL), 6, {"classifier"}),
    "llama": (TEXT, LlamaConfig(vocab_size=30, num_key_value_heads=2, **SMALL), 7, {"score"}),
    "vit": (IMAGE, ViTConfig(image_size=8, patch_size=4, **SMALL), 6, {"classifier"}),
    "resnet": (IMAGE, ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"), 0, {"classifier"}),
    "wav2vec2": (SOUND, Wav2Vec2Config(vocab_size=30, **SPEECH, **SMALL), 6, {"projector", "classifier"}),
    "ast": (SOUND, ASTConfig(max_length=32, num_mel_bins=16, **SMALL), 6, {"classifier"}),
    "whisper": (SOUND, WhisperConfig(**WHISPER), 6, {"projector", "classifier"}),
}


def with_labels(auto, config, num_labels):
    config = type(config).from_dict({**config.to_dict(), "id2label": {i: str(i) for i in range(num_labels)}})
    return auto.from_config(config)


def inside(name, paths):
    return any(name.startswith(path + ".") for path in paths)


@pytest.mark.parametrize("name", MODELS)
def test_roles_of_architectures_of_transformers(name):
    auto, config, linears, head = MODELS[name]
    model = with_labels(auto, config, 3)
    parts = anatomy(model)
    assert {path for path in parts.head if any(True for _ in model.get_submodule(path).parameters())} == head
    assert [len(block) for block in parts.linears] == ([linears] * 2 if linears else [])
    for block, found in zip(parts.blocks, parts.linears):
        assert all(path.startswith(block + ".") and isinstance(model.get_submodule(path), torch.nn.Linear) for path in found)


@pytest.mark.parametrize("name", [name for name in MODELS if MODELS[name][2]])
def test_the_attention_of_every_block_makes_heads_of_what_it_reads_and_reads_them_again(name):
    auto, config, _, _ = MODELS[name]
    model = with_labels(auto, config, 3).eval()
    parts = anatomy(model)
    assert len(parts.attention) == len(parts.blocks) == 2
    read = {}
    for block, paths in zip(parts.blocks, parts.attention):
        assert all(path.startswith(f"{block}.") for path in paths)
        for path in paths:
            model.get_submodule(path).register_forward_hook(lambda _, inputs, output, path=path: read.update({path: (inputs[0], output)}))
    shapes = {"pixel_values": (1, 3, 8, 8), "input_values": (1, 32, 16) if name == "ast" else (1, 4000), "input_features": (1, 80, 3000)}
    wanted = model.main_input_name
    model(**{wanted: torch.arange(4)[None] if wanted == "input_ids" else torch.randn(shapes[wanted])})
    for query, key, value, output in parts.attention:
        assert read[query][0] is read[key][0] is read[value][0]
        assert read[value][1].shape == read[output][0].shape and read[output][1].shape == read[query][0].shape


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_whose_shape_the_labels_set_is_of_the_head(name):
    auto, config, _, _ = MODELS[name]
    three, seven = with_labels(auto, config, 3), with_labels(auto, config, 7)
    pairs = zip(three.named_parameters(), seven.named_parameters(), strict=True)
    by_labels = [key for (key, a), (_, b) in pairs if a.shape != b.shape]
    assert by_labels and all(inside(key, anatomy(three).head) for key in by_labels)


@pytest.mark.parametrize("name", ["marian-tiny", "t5-tiny"])
def test_an_encoder_and_a_decoder_have_blocks_of_both_which_prune_takes_from_each(name):
    model = AutoModelForSeq2SeqLM.from_config(of_size(name))
    parts = anatomy(model)
    assert {entry: len(blocks) for entry, blocks in parts.depth.items()} == dict.fromkeys(parts.depth, 4) and len(parts.depth) == 2
    assert len(parts.blocks) == len(parts.feed_forward) == 8
    inputs = {"input_ids": torch.arange(4, 10)[None], "decoder_input_ids": torch.arange(4, 8)[None]}
    shown = Shown(model.state_dict(), [], None, None, None)
    for share in (0.5, 0.1):
        taken = layers.apply(model, parts, shown, layers.Options(keep_share=share))
        smaller = with_weights(model, taken.changes, taken.weights)
        assert len(anatomy(smaller).blocks) == 8 * max(share, 0.25) and smaller(**inputs).logits.isfinite().all()


FIRST = [next(iter(find("families", family).SIZES)) for family in names("families")]


@pytest.mark.parametrize("size", [size for size in FIRST if not of_size(size).is_encoder_decoder])
def test_the_head_of_every_family_is_what_the_labels_set_and_the_blocks_are_none_of_it(size):
    register_families()
    family = next(find("families", name) for name in names("families") if size in find("families", name).SIZES)
    facts = {
        "image_size": (8, 8),
        "channels": 1,
        "vocab_size": 30,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "max_length": 16,
    }
    models = [find_auto(family).from_config(config_of(size, {**facts, "labels": list("abcdefg")[:n]})) for n in (3, 7)]
    parts = anatomy(models[0])
    pairs = zip(models[0].named_parameters(), models[1].named_parameters(), strict=True)
    by_labels = [key for (key, a), (_, b) in pairs if a.shape != b.shape]
    assert by_labels and all(inside(key, parts.head) for key in by_labels)
    assert parts.blocks and not any(inside(path, parts.head) for path in parts.blocks)


def find_auto(family):
    return next(auto for media, auto in (("text", TEXT), ("image", IMAGE), ("sound", SOUND)) if media in family.MEDIA)
