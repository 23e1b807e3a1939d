"""Writing token by token: against `generate` of transformers itself, and each row alone against all in one batch."""

import pytest
import torch
from scipy.stats import chisquare
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)
from transformers.cache_utils import DynamicLayer

from penjing.core.contracts import Batch
from penjing.core.errors import ModelError, OptionError
from penjing.core.generation import OWN, Generation
from penjing.core.model_dir import ModelDir
from penjing.core.new_text import NewText
from penjing.engine import cache, tokenizers
from penjing.engine.backends.onnxruntime import OnnxRuntimeBackend
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.decoding import begins, joins
from penjing.engine.generate import drawing
from penjing.methods.quantize._graph import export, quiet

TEXTS = ["a man on a horse .", "two dogs run", "the women of the village sing a song together .", "no"]
SAID = {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizers.train(lambda: TEXTS, NewText("bpe", 300))


def gpt2():
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=2, n_positions=64, **SAID))


def llama():
    sizes = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    return LlamaForCausalLM(LlamaConfig(**sizes, max_position_embeddings=64, **SAID))


def marian():
    sizes = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}
    return MarianMTModel(
        MarianConfig(d_model=32, max_position_embeddings=64, decoder_start_token_id=2, forced_eos_token_id=None, **sizes, **SAID)
    )


MODELS = {"gpt2": gpt2, "llama": llama, "marian": marian}


@pytest.fixture(params=MODELS)
def model(request):
    return wide(MODELS[request.param])


def wide(make):
    """A model drawn so wide that it writes this and that, and its end now and then."""
    torch.manual_seed(1)
    made = make().eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim == 2:
                weight.mul_(8 if "embed" not in name and "wte" not in name else 30)
    return made


def prompts(tokenizer, texts, side="right"):
    tokenizer.padding_side = side
    found = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    return Batch(dict(found), {}, torch.arange(len(texts)))


@pytest.mark.parametrize("side", ["right", "left"])
def test_prompts_of_different_length_are_answered_as_each_of_them_alone(model, tokenizer, side):
    if model.config.is_encoder_decoder and side == "left":
        pytest.skip("what an encoder reads is padded behind: its positions are counted from the first token, padding or not")
    together = TorchBackend(model, generation=Generation(max_new_tokens=12)).generate(prompts(tokenizer, TEXTS, side), tokenizer)
    assert together == [theirs(model, tokenizer, text, max_new_tokens=12, do_sample=False) for text in TEXTS]
    assert len(set(together)) > 1


def test_rows_that_end_early_leave_the_batch_and_the_others_go_on_as_before(model, tokenizer):
    ends = [theirs(model, tokenizer, text, max_new_tokens=9, do_sample=False)[-1:] for text in TEXTS]
    end = tokenizer.encode(ends[0], add_special_tokens=False)[-1]
    model.generation_config.eos_token_id = end
    together = TorchBackend(model, generation=Generation(max_new_tokens=20)).generate(prompts(tokenizer, TEXTS), tokenizer)
    assert together == [theirs(model, tokenizer, text, max_new_tokens=20, do_sample=False, eos_token_id=end) for text in TEXTS]


def test_beams_are_those_of_transformers(model, tokenizer):
    together = TorchBackend(model, generation=Generation(beams=3, max_new_tokens=6)).generate(prompts(tokenizer, TEXTS), tokenizer)
    assert together == [theirs(model, tokenizer, text, max_new_tokens=6, num_beams=3, do_sample=False) for text in TEXTS]


def test_draws_follow_from_the_seed_and_the_row_and_not_from_the_others_of_its_batch(model, tokenizer):
    drawing = Generation(temperature=1.5, top_k=50, top_p=0.9, max_new_tokens=8)
    batch = prompts(tokenizer, TEXTS)
    said = TorchBackend(model, generation=drawing, seed=3).generate(batch, tokenizer)
    alone = prompts(tokenizer, [TEXTS[2]])._replace(rows=torch.tensor([2]))
    assert TorchBackend(model, generation=drawing, seed=3).generate(alone, tokenizer) == [said[2]]
    assert TorchBackend(model, generation=drawing, seed=4).generate(batch, tokenizer) != said


def test_tokens_are_drawn_as_often_as_their_chances_say():
    """One step over five tokens, 4,000 rows: the counts pass a chi-squared test at 1 in 1,000."""
    chances = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
    drawn = drawing(torch.arange(4000), seed=0)(chances.log().expand(4000, 5), torch.arange(4000))
    assert (
        chisquare(torch.bincount(drawn, minlength=5).numpy(), 4000 * chances.double().numpy() / chances.double().sum().item()).pvalue
        > 0.001
    )


def test_an_answer_ends_before_a_stop_text(model, tokenizer):
    whole = TorchBackend(model, generation=Generation(max_new_tokens=12)).generate(prompts(tokenizer, TEXTS), tokenizer)
    stop = next(letter for letter in "".join(whole) if letter.isprintable() and letter != "\ufffd")
    cut = TorchBackend(model, generation=Generation(max_new_tokens=12, stop=[stop])).generate(prompts(tokenizer, TEXTS), tokenizer)
    assert cut == [text.split(stop)[0] for text in whole]


def test_no_more_is_written_than_the_model_has_positions(model, tokenizer):
    model.generation_config.eos_token_id = None
    lengths = []
    model.register_forward_hook(lambda *_: lengths.append(1))
    TorchBackend(model, generation=Generation(max_new_tokens=1000)).generate(prompts(tokenizer, TEXTS[:1]), tokenizer)
    prompt = 1 if model.config.is_encoder_decoder else len(tokenizer(TEXTS[0])["input_ids"])
    assert len(lengths) == 64 - prompt


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}])
def test_a_decoder_that_is_a_graph_writes_what_its_model_does(kind, settings, tokenizer, tmp_path):
    model = wide(MODELS[kind])
    batch = prompts(tokenizer, TEXTS)
    with quiet():
        (tmp_path / "model.onnx").write_bytes(export(model, batch.inputs, writes=True).SerializeToString())
    model.config.save_pretrained(tmp_path)
    model.generation_config.save_pretrained(tmp_path)
    graph = OnnxRuntimeBackend(str(tmp_path / "model.onnx"), 2, "fp32")
    chosen = Generation(max_new_tokens=12, beams=settings.get("num_beams"))
    written = graph.writing(ModelDir(tmp_path, {}), chosen, 0).generate(batch, tokenizer)
    assert written == [theirs(model, tokenizer, text, max_new_tokens=12, do_sample=False, **settings) for text in TEXTS]
    there = batch.inputs["attention_mask"].bool()
    with torch.no_grad():
        assert (graph(**batch.inputs).logits - model(**batch.inputs).logits)[there].abs().max() < 1e-3
    assert begins(graph.model) and joins(graph.model)


def test_a_decoder_that_forgets_tokens_is_no_graph_that_writes(tokenizer):
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
    forgetting = MistralForCausalLM(MistralConfig(**sizes, sliding_window=8, head_dim=16, **SAID)).eval()
    with quiet():
        graph = export(forgetting, prompts(tokenizer, TEXTS).inputs, writes=True)
    assert {entry.name for entry in graph.graph.input} == {"input_ids", "attention_mask"}


def test_a_decoder_of_code_that_a_directory_brought_is_no_graph_that_writes(tokenizer):
    own = type("OwnGPT2", (GPT2LMHeadModel,), {"__module__": "elsewhere"})
    with quiet():
        graph = export(own(gpt2().config).eval(), prompts(tokenizer, TEXTS).inputs, writes=True)
    assert {entry.name for entry in graph.graph.input} == {"input_ids", "attention_mask"}


def test_a_model_of_operations_that_no_graph_has_is_refused_in_three_parts(tokenizer):
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 32}
    experts = MixtralForCausalLM(MixtralConfig(**sizes, num_local_experts=2, head_dim=16, **SAID)).eval()
    with quiet(), pytest.raises(ModelError) as raised:
        export(experts, prompts(tokenizer, TEXTS).inputs)
    assert (
        raised.value.problem.startswith("torch cannot write MixtralForCausalLM as an ONNX graph: ") and "--method rtn" in raised.value.fix
    )


def test_an_engine_without_generation_says_so_in_three_parts():
    engine = object.__new__(OnnxRuntimeBackend)
    with pytest.raises(ModelError) as raised:
        engine.generate(Batch({}, {}, torch.empty(0)), None)
    assert "does not write token by token" in raised.value.problem and raised.value.wanted and raised.value.fix


def test_beams_and_draws_exclude_each_other():
    with pytest.raises(OptionError, match="--beams 4 looks for the likeliest answer"):
        Generation(beams=4, top_p=0.9)
    assert Generation(beams=4, temperature=0).draws is False and OWN.draws is None


def theirs(model, tokenizer, text, **settings):
    """What transformers' own `generate` writes for one text."""
    alone = tokenizer([text], return_tensors="pt", return_token_type_ids=False)
    written = model.generate(**alone, **settings, pad_token_id=0)[0]
    return tokenizer.decode(written[0 if model.config.is_encoder_decoder else alone["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_layer_with_room_keeps_what_a_copying_one_keeps():
    """Through the end of its memory, through rows that leave, and for states that a model cut out of a larger tensor."""
    roomy, copying, draw = cache.RoomyLayer(), DynamicLayer(), torch.Generator().manual_seed(0)
    rows, memory = 5, []
    for step in range(2 * cache.ROOM + 10):
        new = torch.randn(2, rows, 7 if step == 0 else 1, 3, 4, generator=draw).transpose(2, 3)
        found, wanted = roomy.update(*new), copying.update(*new)
        for one, other in zip(found, wanted):
            torch.testing.assert_close(one, other, rtol=0, atol=0)
        memory.append(found[0].data_ptr())
        if step in (4, 90):
            kept = torch.tensor([3, 1, 0, 4])[: rows - 1]
            rows = len(kept)
            roomy.batch_select_indices(kept)
            copying.batch_select_indices(kept)
    assert roomy.get_seq_length() == copying.get_seq_length() and len(set(memory)) < 8


def test_rows_join_and_leave_a_layer_and_each_keeps_what_it_has_alone():
    """Against a list of tensors for each row; what stands before a shorter row is zeros."""
    draw, layer, alone = torch.Generator().manual_seed(0), cache.RoomyLayer(), []
    for step in range(150):
        if step % 13 == 0:
            tokens = 1 + step % 29
            new = torch.randn(2, 2, 3, tokens, 4, generator=draw)
            if alone:
                other = cache.RoomyLayer()
                other.update(*new)
                layer.join(other)
            else:
                layer.update(*new)
            alone += [new[0][0], new[0][1]]
        new = torch.randn(2, len(alone), 3, 1, 4, generator=draw)
        found, _ = layer.update(*new)
        alone = [torch.cat([row, more], 1) for row, more in zip(alone, new[0])]
        for row, own in zip(found, alone):
            torch.testing.assert_close(row[:, -own.shape[1] :], own, rtol=0, atol=0)
        longest = max(own.shape[1] for own in alone)
        if step % 7 == 0 and len(alone) > 2:
            kept = [0, len(alone) - 1, *range(2, len(alone) - 1)] if step % 2 else [*range(1, len(alone))]
            layer.batch_select_indices(torch.tensor(kept))
            alone = [alone[row] for row in kept]
            layer.shorten(found.shape[2] - max(own.shape[1] for own in alone))
            longest = max(own.shape[1] for own in alone)
        assert layer.get_seq_length() == longest


def test_stop_texts_that_a_model_has_of_its_own_hold(tokenizer):
    torch.manual_seed(1)
    model = gpt2().eval()
    whole = TorchBackend(model, generation=Generation(max_new_tokens=12)).generate(prompts(tokenizer, TEXTS), tokenizer)
    model.generation_config.stop_strings = [stop := next(letter for letter in "".join(whole) if letter.isprintable())]
    cut = TorchBackend(model, generation=Generation(max_new_tokens=12)).generate(prompts(tokenizer, TEXTS), tokenizer)
    assert cut == [text.split(stop)[0] for text in whole] and model.generation_config.stop_strings == [stop]
