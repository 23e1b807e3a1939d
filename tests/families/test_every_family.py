"""What every family file in the folder must hold, whoever wrote it."""

import ast
import sys
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForAudioClassification,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
)

from penjing.core.find import find, names
from penjing.engine.create import config_of

FACTS = {
    "image": {"labels": ["cat", "dog", "emu"], "image_size": (8, 12), "channels": 2},
    "sound": {"labels": ["bell", "horn", "gong"], "image_size": (9, 16), "channels": 1},
    "text": {
        "labels": ["good", "bad", "so-so"],
        "vocab_size": 50,
        "pad_token_id": 3,
        "cls_token_id": 1,
        "eos_token_id": 2,
        "max_length": 16,
    },
}
AUTO = {"image": AutoModelForImageClassification, "sound": AutoModelForAudioClassification, "text": AutoModelForSequenceClassification}
INPUTS = {
    "image": lambda: {"pixel_values": torch.randn(2, 2, 8, 12)},
    "sound": lambda: {"input_values": torch.randn(2, 9, 16)},
    "text": lambda: {"input_ids": torch.randint(4, 50, (2, 16)), "attention_mask": torch.ones(2, 16, dtype=torch.int64)},
}
FAMILIES = names("families")
MEDIA = [(family, media) for family in FAMILIES for media in find("families", family).MEDIA]
SIZES = [(family, size) for family in FAMILIES for size in find("families", family).SIZES]
KINDS = [(family, media, positions) for family, media in MEDIA for positions in getattr(find("families", family), "POSITIONS", [None])]


def fresh(family, size, media=None, positions=None):
    media = media or find("families", family).MEDIA[0]
    config = config_of(size, FACTS[media], positions)
    return (AutoModelForSeq2SeqLM if config.is_encoder_decoder else AUTO[media]).from_config(config)


def inputs_of(model, media):
    """Something that the model can see: two rows; of a decoder too what it has written."""
    seen = INPUTS[media]()
    return {**seen, "decoder_input_ids": torch.randint(4, 50, (2, 5))} if model.config.is_encoder_decoder else seen


def logits_of(model, inputs):
    """(2, C): those of labels, or of the token that a decoder writes next."""
    logits = model(**inputs).logits
    return logits[:, -1] if model.config.is_encoder_decoder else logits


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_imports_nothing_that_its_saved_code_could_not(family):
    """Only torch, transformers and the standard library: the file travels without penjing."""
    tree = ast.parse(Path(find("families", family).__file__).read_text("utf-8"))
    direct = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.split(".")[0] for name in direct | parts}
    assert roots <= {"torch", "transformers"} | set(sys.stdlib_module_names)


def test_no_two_families_share_a_size():
    sizes = [size for _, size in SIZES]
    assert len(sizes) == len(set(sizes))


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_listed_from_small_to_large(family):
    with torch.device("meta"):
        counts = [fresh(family, size).num_parameters() for size in find("families", family).SIZES]
    assert 2 <= len(counts) <= 5
    assert counts == sorted(set(counts))


@pytest.mark.parametrize(("family", "size"), SIZES)
def test_a_config_carries_the_labels_and_survives_its_json(family, size, tmp_path):
    facts = FACTS[find("families", family).MEDIA[0]]
    config = config_of(size, facts)
    assert [config.id2label[i] for i in range(3)] == facts["labels"]
    assert config.label2id == {label: i for i, label in config.id2label.items()}
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path, trust_remote_code=False).to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize(("family", "media", "positions"), KINDS)
def test_the_smallest_size_answers_and_learns_in_every_parameter(family, media, positions):
    """Logits of the right shape, a finite loss, and a gradient for everything that is trained."""
    torch.manual_seed(0)
    model = fresh(family, next(iter(find("families", family).SIZES)), media, positions).train()
    logits = logits_of(model, inputs_of(model, media))
    assert logits.shape == (2, 50 if model.config.is_encoder_decoder else 3)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]))
    loss.backward()
    assert loss.isfinite()
    assert [name for name, p in model.named_parameters() if p.grad is None and p.requires_grad] == []


@pytest.mark.parametrize(("positions", "sees_order"), [("rotary", True), ("nope", False)])
def test_without_positions_one_layer_of_a_decoder_cannot_tell_the_order_of_what_was_before(positions, sees_order):
    torch.manual_seed(0)
    config = config_of("llama-tiny", FACTS["text"], positions)
    config.num_hidden_layers = 1
    model = AutoModelForCausalLM.from_config(config).eval()
    last = [model(torch.tensor([tokens])).logits[0, -1] for tokens in ([5, 6, 7, 8], [7, 5, 6, 8])]
    assert torch.allclose(*last, atol=1e-5) != sees_order


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_that_is_not_there_is_a_key_error(family):
    module = find("families", family)
    with pytest.raises(KeyError, match="new-york"):
        module.config("new-york", {**FACTS[module.MEDIA[0]], "positions": next(iter(getattr(module, "POSITIONS", [None])))})
