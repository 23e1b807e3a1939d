"""Parameters, operations and kept bytes: closed forms beside published counts, torch's counter and a model without weights."""

import functools
import json
from dataclasses import replace

import pytest
import torch
import transformers

from penjing.core.errors import ModelError
from penjing.core.runtime import Runtime
from penjing.engine import counted
from penjing.engine.anatomy import anatomy
from penjing.engine.counted import counted_config, forward
from penjing.engine.masks import CheapMasks
from penjing.engine.recomputing import recomputing
from penjing.maths import cost

RUNTIME = Runtime(quiet=True)
by_name = functools.cache(lambda name: counted.counted(name, RUNTIME))
EXACT = [name for name, entry in counted.table().items() if isinstance(entry["parameters"], int)]
ROUNDED = [name for name in counted.table() if name not in EXACT]
SMALL = {"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 704, "vocab_size": 1000}
CONFIGS = {
    "gpt2": transformers.GPT2Config(n_layer=3, n_embd=128, n_head=4, vocab_size=1000),
    "llama": transformers.LlamaConfig(**SMALL, num_key_value_heads=2),
    "mixtral": transformers.MixtralConfig(**SMALL, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2),
    "bert": transformers.BertConfig(**SMALL),
    "bloom": transformers.BloomConfig(hidden_size=128, n_layer=2, n_head=4, vocab_size=1000),
    "opt": transformers.OPTConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, ffn_dim=512, word_embed_proj_dim=128, vocab_size=1000
    ),
    "qwen3": transformers.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=64),
    "deepseek_v3": transformers.DeepseekV3Config(
        **SMALL, num_key_value_heads=4, moe_intermediate_size=128, n_routed_experts=8, num_experts_per_tok=2, first_k_dense_replace=1,
        n_group=2, topk_group=1, q_lora_rank=64, kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32,
    ),
}  # fmt: skip


def test_there_are_enough_published_sizes_of_enough_families():
    kinds = {counted.table()[name]["config"]["model_type"] for name in EXACT}
    sizes = [entry["parameters"] for entry in counted.table().values()]
    assert len(EXACT) >= 15 and len(kinds) >= 15 and min(sizes) < 1.1e8 and max(sizes) > 6.7e11


@pytest.mark.parametrize("name", EXACT)
def test_parameters_are_those_of_the_published_checkpoint_to_the_last(name):
    assert by_name(name).parameters.total == counted.table()[name]["parameters"]


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_are_those_that_the_paper_rounds(name):
    """Half of a per cent: 175 billion are printed for 174.6."""
    entry = counted.table()[name]
    within = 0.025 if entry["parameters"] < 1e10 or name == "gpt-3-13b" else 0.005
    assert by_name(name).parameters.total == pytest.approx(entry["parameters"], rel=within)


@pytest.mark.parametrize("name", [name for name, entry in counted.table().items() if "active" in entry])
def test_what_a_token_meets_of_experts_is_what_was_printed(name):
    """DeepSeek prints 37 billion and leaves out the table of embeddings, 0.9 billion."""
    found = by_name(name).parameters
    printed = counted.table()[name]["active"]
    assert found.active == pytest.approx(printed, rel=0.02)


@pytest.mark.parametrize("name", [name for name, entry in counted.table().items() if entry["config"]["model_type"] in counted._READ])
def test_the_closed_form_adds_up_to_the_model_without_weights(name):
    found = by_name(name)
    assert cost.parameters(counted.shape(found.model.config)).total == sum(p.numel() for p in found.model.parameters())


def test_a_classifier_has_what_its_head_adds_and_no_operations_over_the_vocabulary():
    config = transformers.BertConfig(**SMALL, architectures=["BertForSequenceClassification"])
    found = counted_config(config)
    assert found.shape.other == 256 * 256 + 256 + 2 * 256 + 2 and not found.shape.head  # pooler, two labels
    told = cost.forward_flops(found.shape, 128).total * 128
    assert told == pytest.approx(forward(found.model, 1, 128).flops, rel=0.01)


@pytest.mark.parametrize("kind", [kind for kind in CONFIGS if kind not in ("mixtral", "deepseek_v3")])
def test_operations_are_within_one_per_cent_of_torchs_counter(kind):
    rows, length = 2, 128
    found = counted_config(CONFIGS[kind])
    told = cost.forward_flops(found.shape, length).total * rows * length
    assert told == pytest.approx(forward(found.model, rows, length).flops, rel=0.01)


def test_operations_of_experts_are_those_of_a_model_with_as_many_experts_as_a_token_meets():
    """torch's counter has no formula for the grouped product of experts; two dense parts side by side are what a token meets."""
    found = counted_config(CONFIGS["mixtral"]).shape
    dense = replace(found, experts=0, active_experts=0, feed_forward=2 * found.expert_size)
    told = cost.forward_flops(found, 64).total - 2 * 3 * found.experts * found.hidden  # the router
    assert told == cost.forward_flops(dense, 64).total


@pytest.mark.parametrize("kind", ["gpt2", "llama", "qwen3"])
def test_a_backward_pass_costs_twice_the_forward_one(kind):
    """By torch's counter, over a real pass with weights."""
    config = CONFIGS[kind]
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config)
    ids = torch.zeros(1, 64, dtype=torch.long)
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model(ids).logits.sum().backward()
    told = cost.training_flops(counted_config(config).shape, 64) * 64
    assert told == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("name", ["resnet-50", "vit-base", "whisper-large-v3"])
def test_a_model_without_a_closed_form_is_counted_by_passes_and_said_so(name):
    found = by_name(name)
    assert found.shape is None and "counted by a model without weights" in found.notes[0]
    one = forward(found.model, 1, 16)
    assert one.flops > 0 and one.kept > 0
    printed = {"resnet-50": 2 * 4.09e9, "vit-base": 2 * 17.56e9}  # torchvision prints products alone, of ViT without its attention: 17.56
    if name in printed:
        assert one.flops == pytest.approx(printed[name], rel=0.05)


def test_a_pass_over_few_blocks_tells_what_a_pass_over_all_does():
    """Of an encoder and a decoder of different depths, the first block of each with a table that the others share."""
    config = transformers.T5Config(num_layers=6, num_decoder_layers=5, d_model=64, d_ff=128, num_heads=4, d_kv=16, vocab_size=500)
    model = counted_config(config).model
    assert forward(model, 2, 16) == counted._pass(model, counted.inputs(model, 2, 16))
    assert len(model.encoder.block) == 6 and len(model.decoder.block) == 5


@pytest.mark.parametrize("size", ["cnn-tiny", "rnn-mini", "resnet-mini", "bert-tiny", "llama-tiny", "mixtral-tiny"])
def test_every_kind_of_new_size_is_counted(size):
    found = counted.counted(f"new:{size}", RUNTIME)
    assert found.parameters.total == sum(p.numel() for p in found.model.parameters())


def test_a_directory_a_config_and_a_hub_id_are_the_same_model(tmp_path):
    config = counted.config_of("llama-3.1-8b", RUNTIME)
    config.save_pretrained(tmp_path)
    names = ["llama-3.1-8b", "meta-llama/Llama-3.1-8B", str(tmp_path), str(tmp_path / "config.json")]
    assert {counted.counted(name, RUNTIME).parameters for name in names} == {counted.counted(names[0], RUNTIME).parameters}


BAD = {
    "no name": (None, "no model called 'llama-3.1-9b'", "'llama-3.1-8b'"),
    "no json": ("{", "is no config", "one object of JSON"),
    "no type": ({"hidden_size": 8}, "does not say of which architecture", "model_type"),
    "unknown": ({"model_type": "llamma"}, "no architecture 'llamma'", "'llama'"),
    "negative": ({"model_type": "gpt2", "n_embd": -768}, "-768", "sizes that go together"),
    "indivisible": ({"model_type": "gpt2", "n_embd": 100, "n_head": 7}, "no model can be made of this config", "sizes that go together"),
}


@pytest.mark.parametrize("content, problem, wanted", BAD.values(), ids=BAD)
def test_what_is_no_model_is_refused_with_what_was_wanted(tmp_path, content, problem, wanted):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ModelError) as refused:
        counted.counted(str(path) if content is not None else "llama-3.1-9b", RUNTIME)
    assert problem in refused.value.problem and wanted in (refused.value.wanted or "")


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("name", "rows", "length"), [("new:resnet-tiny", 8, 1), ("new:bert-tiny", 4, 32), ("new:cnn-tiny", 8, 1)])
def test_the_fullest_moment_of_a_step_is_that_which_torch_tracks(name, rows, length, again):
    from torch.distributed._tools.mem_tracker import MemTracker  # 1.3 s

    model = counted.counted(name, RUNTIME).model
    given, tracker = counted.inputs(model, rows, length), MemTracker()
    tracker.track_external(model)
    with tracker:
        with recomputing(model, anatomy(model).blocks if again else (), CheapMasks((0, 0, 0, 0))):
            outputs = model(**given)
        next(iter(outputs.values())).sum().backward()
    (told,) = tracker.get_tracker_snapshot("peak").values()
    told = {getattr(kind, "name", kind): size for kind, size in told.items()}
    model.zero_grad()
    del outputs
    assert counted.most_held(model, given, again) == told["Total"] - told["PARAM"] - told["BUFFER"]


def test_a_row_is_what_the_fullest_moment_grows_by():
    model = counted.counted("new:resnet-tiny", RUNTIME).model
    most = [counted.most_held(model, counted.inputs(model, rows, 1)) for rows in (100, 200)]
    each = counted.held_a_row(model, functools.partial(counted.inputs, model, length=1))
    assert each == pytest.approx((most[1] - most[0]) / 100, rel=0.01)
