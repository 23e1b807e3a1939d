"""What drops out, in models of transformers that hold its share in different ways: layers, numbers beside them, the config."""

import pytest
import torch
import transformers as hf

import penjing
from penjing.core.errors import DataError, ModelError
from penjing.engine.dropping import dropping
from penjing.methods.finetune import lora

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
IDS = {"input_ids": torch.arange(1, 13)[None]}
PIXELS = {"pixel_values": torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))}
SOUND = {"input_values": torch.randn(1, 2000, generator=torch.Generator().manual_seed(0))}
FAMILIES = {  # name -> (model, its inputs), every share in the config well above zero
    "bert": (hf.BertForSequenceClassification, hf.BertConfig(vocab_size=20, **TINY), IDS),
    "distilbert": (
        hf.DistilBertForSequenceClassification,
        hf.DistilBertConfig(vocab_size=20, dim=16, n_layers=2, n_heads=2, hidden_dim=32, attention_dropout=0.3),
        IDS,
    ),
    "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=2), IDS),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(vocab_size=20, attention_dropout=0.3, **TINY), IDS),
    "t5": (hf.T5EncoderModel, hf.T5Config(vocab_size=20, d_model=16, num_layers=2, num_heads=2, d_kv=8, d_ff=32), IDS),
    "modernbert": (
        hf.ModernBertForSequenceClassification,
        hf.ModernBertConfig(
            vocab_size=20, pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2,
            attention_dropout=0.3, embedding_dropout=0.3, mlp_dropout=0.3, classifier_dropout=0.3, **TINY,
        ),
        IDS,
    ),
    "vit": (
        hf.ViTForImageClassification,
        hf.ViTConfig(image_size=8, patch_size=4, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3, **TINY),
        PIXELS,
    ),
    "wav2vec2": (
        hf.Wav2Vec2ForSequenceClassification,
        hf.Wav2Vec2Config(
            conv_dim=(16, 16), conv_stride=(5, 4), conv_kernel=(10, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2, layerdrop=0.0, apply_spec_augment=False, **TINY,
        ),
        SOUND,
    ),
}  # fmt: skip


def built(name):
    torch.manual_seed(0)
    kind, config, inputs = FAMILIES[name]
    model = kind(config).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)  # drawn as usual they would hardly speak
    return model, lambda: model(**inputs)[0].detach()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_share_of_zero_makes_training_answer_as_use_does_and_then_all_is_as_before(name):
    model, answer = built(name)
    before = model.config.to_json_string()
    in_use = model.eval() and answer()
    model.train()
    assert not torch.allclose(answer(), in_use)
    with dropping(model, 0.0):
        torch.testing.assert_close(answer(), in_use)
    assert model.config.to_json_string() == before
    torch.manual_seed(1)
    again = answer()
    with dropping(model, None):
        torch.manual_seed(1)
        assert torch.equal(answer(), again)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_share_that_is_given_is_that_of_a_model_whose_config_says_so(name):
    kind, config, _ = FAMILIES[name]
    said = {key: 0.4 if "dropout" in key or "pdrop" in key else value for key, value in config.to_dict().items()}
    model, answer = built(name)
    twin = kind(type(config)(**said)).train()
    twin.load_state_dict(model.state_dict())
    torch.manual_seed(1)
    wanted = twin(**FAMILIES[name][2])[0]
    with dropping(model, 0.4):
        torch.manual_seed(1)
        torch.testing.assert_close(answer(), wanted.detach())


def test_the_dropout_of_loras_updates_is_its_own():
    pytest.importorskip("peft")
    from penjing.engine.anatomy import anatomy

    model, _ = built("bert")
    lora.apply(model, anatomy(model), lora.Options(update_dropout=0.25))
    with dropping(model, 0.5):
        shares = {part.p for name, part in model.named_modules() if isinstance(part, torch.nn.Dropout) and "lora_" in name}
        assert shares == {0.25} and model.dropout.p == 0.5


def test_a_model_that_drops_nothing_out_is_refused_a_share_before_rows_are_read(image_parent, tmp_path):
    for call, words in (
        (penjing.finetune, {"model": "new:resnet-tiny", "task": "image-classification"}),
        (penjing.finetune, {"model": image_parent}),
        (penjing.distill, {"model": image_parent, "student": "new:cnn-tiny"}),
        (penjing.shrink, {"model": image_parent}),
    ):
        with pytest.raises(ModelError, match=r"--dropout is not for a model of type penjing_(resnet|cnn), which drops nothing out"):
            call(data=tmp_path / "no-rows.csv", out=tmp_path / "out", dropout=0.1, **words)


def test_a_student_that_drops_out_may_have_a_teacher_that_does_not(image_parent, tmp_path):
    words = {"student": "new:vit-tiny", "dropout": 0.1}
    with pytest.raises(DataError, match=r"no-rows\.csv"):
        penjing.distill(image_parent, tmp_path / "no-rows.csv", out=tmp_path / "out", **words)
