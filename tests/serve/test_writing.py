"""Writing for many requests at once: each answer as `TorchBackend.generate` writes it alone, whoever joins and leaves meanwhile."""

import random
import time

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MarianConfig,
    MarianMTModel,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from penjing.core.collate import ROW
from penjing.core.errors import ModelError
from penjing.core.generation import Generation
from penjing.core.new_text import NewText
from penjing.engine import tokenizers
from penjing.engine.backends.torch import TorchBackend
from penjing.engine.decoding import begins, joins
from penjing.families.rnn import RNNConfig, RNNForCausalLM, RNNForSeq2SeqLM
from penjing.serve.errors import Refused
from penjing.serve.wording import HALF, Wording
from penjing.serve.writing import Writer
from penjing.tasks.text_generation import TextGeneration
from penjing.tasks.translation import Translation

TEXT = "a man on the horse two dogs run women of village sing song together no 狗 在 跑 . , 's ! é ü"
WORDS = TEXT.split()
SAID = {"vocab_size": 300, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
LLAMA = {**SIZES, "max_position_embeddings": 96, **SAID}
PARTS = {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 64))}
MARIAN = {"d_model": 32, "max_position_embeddings": 96, "decoder_start_token_id": 2, "forced_eos_token_id": None, **PARTS, **SAID}
RNN = {"embedding_size": 16, "widths": [24, 24], "decoder_start_token_id": 2, **SAID}
MODELS = {  # and whether rows of different length can be put together
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(n_layer=2, n_embd=32, n_head=2, n_positions=96, **SAID)), True),
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)), True),
    "sliding window": (lambda: MistralForCausalLM(MistralConfig(sliding_window=8, **LLAMA)), False),
    "state space": (lambda: MambaForCausalLM(MambaConfig(num_hidden_layers=2, hidden_size=32, **SAID)), False),
    "lstm": (lambda: RNNForCausalLM(RNNConfig(cell="lstm", **RNN)), True),
    "marian": (lambda: MarianMTModel(MarianConfig(**MARIAN)), True),
    "bart": (lambda: BartForConditionalGeneration(BartConfig(**MARIAN)), True),
    "t5": (
        lambda: T5ForConditionalGeneration(
            T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0, **SAID)
        ),
        True,
    ),
    "gru with attention": (lambda: RNNForSeq2SeqLM(RNNConfig(cell="gru", **RNN)), True),
}


@pytest.fixture(scope="module")
def tokenizer():
    made = tokenizers.train(lambda: [TEXT], NewText("bpe", 300))
    made.model_max_length, made.eos_token = 96, made.convert_ids_to_tokens(SAID["eos_token_id"])
    return made


def model_of(name):
    """Drawn so wide that it writes this and that, and its end now and then."""
    torch.manual_seed(1)
    made = MODELS[name][0]().eval()
    with torch.no_grad():
        for path, weight in made.named_parameters():
            if weight.ndim == 2:
                weight.mul_((8 if "embed" not in path and "wte" not in path else 30) if "rnn" not in made.config.model_type else 4)
    return made


def task_of(model):
    return Translation().of(model.config.to_dict()) if model.config.is_encoder_decoder else TextGeneration()


def column_of(task):
    return "text" if isinstance(task, Translation) else "prompt"


def offline(backend, task, tokenizer, text, number=0):
    """What the engine writes for one row alone, and its closest choice between two tokens."""
    encoded = task.encode({column_of(task): text}, tokenizer)
    batch = task.collate([{**encoded, ROW: number}], tokenizer)
    batch = batch._replace(inputs={name: value for name, value in batch.inputs.items() if not name.startswith("decoder_")})
    return backend.generate(batch, tokenizer)


@pytest.mark.parametrize("name", MODELS)
def test_each_answer_is_that_of_its_row_alone_whoever_joins_and_leaves(name, tokenizer):
    model, draw = model_of(name), random.Random(0)
    backend, task = TorchBackend(model, 1), task_of(model)
    rows = [(" ".join(draw.choices(WORDS, k=draw.randint(1, 12))), draw.randint(1, 40)) for _ in range(24)]
    writer, asked = Writer("tiny", backend, task, tokenizer, most_rows=6), []
    for text, most in rows:
        stream, piece = writer.pieces(task.encode({column_of(task): text}, tokenizer), Generation(max_new_tokens=most))
        asked.append((stream, piece, [piece()] if draw.random() < 0.5 else []))  # half of them wait until they have begun
    said = [all_of(piece, begun) for _, piece, begun in asked]
    writer.close()
    for (text, most), (stream, _, _), own in zip(rows, asked, said):
        (alone,) = offline(TorchBackend(model, 1, Generation(max_new_tokens=most)), task, tokenizer, text)
        assert own == alone and stream.error is None
        assert stream.finish == "stop" or (stream.finish == "length" and stream.written == most)
    assert len({*said}) > 12


@pytest.mark.parametrize("name", MODELS)
def test_it_is_tried_and_not_believed_whether_rows_can_be_put_together(name):
    model = model_of(name)
    with torch.inference_mode():
        assert (joins(model), begins(model)) == (MODELS[name][1], True)


def test_what_is_drawn_follows_from_the_seed_and_the_request_and_is_what_the_engine_draws_offline(tokenizer):
    model, task, drawing = model_of("gpt2"), TextGeneration(), Generation(temperature=1.3, top_k=50, top_p=0.9, max_new_tokens=12)
    (alone,) = offline(TorchBackend(model, 1, drawing, seed=5), task, tokenizer, WORDS[1])
    writer = Writer("tiny", TorchBackend(model, 1), task, tokenizer)
    entry = task.encode({"prompt": WORDS[1]}, tokenizer)
    noise = [writer.pieces(task.encode({"prompt": " ".join(WORDS[:n])}, tokenizer), Generation(temperature=2.0)) for n in range(1, 6)]
    said = [all_of(writer.pieces(entry, drawing, seed=seed)[1]) for seed in (5, 5, 6, None, None)]
    for stream, _ in noise:
        stream.cancel()
    writer.close()
    assert said[0] == said[1] == alone and len({*said}) == 4
    assert {stream.finish for stream, _ in noise} <= {"cancelled", "stop", "length"}


@pytest.mark.parametrize(
    "settings", [{"repetition_penalty": 5.0}, {"no_repeat_ngram_size": 2}, {"min_new_tokens": 10}, {"forced_eos_token_id": 3}]
)
def test_settings_that_change_scores_hold_for_each_row_as_they_do_offline(settings, tokenizer):
    model, task = model_of("t5"), task_of(model_of("t5"))
    model.generation_config.update(max_new_tokens=14, **settings)
    texts = [" ".join(WORDS[start : start + 4]) for start in range(6)]
    writer = Writer("tiny", TorchBackend(model, 1), task, tokenizer)
    asked = [writer.pieces(task.encode({"text": text}, tokenizer)) for text in texts]
    said = [all_of(piece) for _, piece in asked]
    writer.close()
    assert said == [offline(TorchBackend(model, 1), task, tokenizer, text)[0] for text in texts]


def test_an_answer_ends_before_a_stop_text_and_no_part_of_it_is_told(tokenizer):
    model, task = model_of("llama"), TextGeneration()
    (whole,) = offline(TorchBackend(model, 1, Generation(max_new_tokens=30)), task, tokenizer, "two dogs")
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    writer = Writer("tiny", TorchBackend(model, 1), task, tokenizer)
    stream, piece = writer.pieces(task.encode({"prompt": "two dogs"}, tokenizer), Generation(max_new_tokens=30, stop=[stop, "never"]))
    assert all_of(piece) == whole.split(stop)[0] and stream.finish == "stop" and stream.written < 30
    writer.close()


def test_those_that_left_or_came_too_late_stop_and_the_others_go_on(tokenizer):
    model, task = endless(), TextGeneration()
    writer, entry = Writer("tiny", TorchBackend(model, 1), task, tokenizer, most_rows=2), task.encode({"prompt": "a man"}, tokenizer)
    leaving, first = writer.pieces(entry, Generation(max_new_tokens=80))
    staying, second = writer.pieces(entry, Generation(max_new_tokens=80))
    late, third = writer.pieces(entry, deadline=time.monotonic() - 1)
    waiting, fourth = writer.pieces(entry, Generation(max_new_tokens=1))
    waiting.cancel()
    first()
    leaving.cancel()
    assert all_of(third) == all_of(fourth) == "" and (late.finish, waiting.finish) == ("deadline", "cancelled")
    all_of(first), all_of(second)
    assert leaving.finish == "cancelled" and leaving.written < 80 and (staying.finish, staying.written) == ("length", 80)
    writer.close()


def test_too_many_that_wait_are_refused_and_so_is_everything_after_the_end(tokenizer):
    model, task = endless(), TextGeneration()
    slow = model.register_forward_hook(lambda *_: time.sleep(0.05))  # so that the first is writing yet when the others come
    writer, entry = (
        Writer("tiny", TorchBackend(model, 1), task, tokenizer, most_rows=1, queue=1),
        task.encode({"prompt": "a man"}, tokenizer),
    )
    _, first = writer.pieces(entry, Generation(max_new_tokens=80))
    first()
    accepted, second = writer.pieces(entry, Generation(max_new_tokens=2))
    with pytest.raises(Refused, match="too many rows wait") as refused:
        writer.pieces(entry)
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] and writer.waiting == 1
    slow.remove()
    writer.close()
    assert accepted.finish == "length" and all_of(second)
    with pytest.raises(Refused, match="unloaded"):
        writer.pieces(entry)


def test_what_a_model_raises_belongs_to_the_answers_it_was_asked_for(tokenizer):
    model, task = endless(), TextGeneration()
    writer, entry = Writer("tiny", TorchBackend(model, 1), task, tokenizer), task.encode({"prompt": "a man"}, tokenizer)
    broken, piece = writer.pieces({"input_ids": [10**6]})
    assert all_of(piece) == "" and broken.finish == "error" and isinstance(broken.error, IndexError)
    stream, piece = writer.pieces(entry, Generation(max_new_tokens=3))
    assert all_of(piece) and stream.finish == "length"
    writer.close()


def test_one_who_cannot_be_told_has_left(tokenizer):
    model, task = endless(), TextGeneration()

    def closed(piece):
        raise RuntimeError("Event loop is closed")

    writer, entry = Writer("tiny", TorchBackend(model, 1), task, tokenizer), task.encode({"prompt": "a man"}, tokenizer)
    stream = writer.write(entry, Generation(max_new_tokens=80), put=closed)
    writer.close()
    assert stream.finish == "cancelled" and stream.written < 80


def test_beams_are_refused_in_one_line(tokenizer):
    model = model_of("marian")
    model.generation_config.num_beams = 4
    writer = Writer("tiny", TorchBackend(model, 1), task_of(model), tokenizer)
    with pytest.raises(ModelError, match="with beams, which are no rows that others join"):
        writer.pieces({"input_ids": [5, 6]})
    writer.close()


@pytest.mark.parametrize("text", ["a man 狗在跑 é ü", "狗狗狗", "the dogs , 's !"])
def test_pieces_hold_no_half_character_and_are_the_whole_text(text, tokenizer):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    words, prompt = Wording(tokenizer, ids[:1], []), tokenizer.decode(ids[:1])
    pieces = [words.add(token) for token in ids[1:]]
    assert not any(HALF in piece for piece in pieces) and len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces) + words.end() == tokenizer.decode(ids)[len(prompt) :]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_tokens_are_the_pieces_are_the_text_up_to_the_first_stop(seed, tokenizer):
    draw = random.Random(seed)
    ids = [draw.randrange(5, 300) for _ in range(90)]
    whole = tokenizer.decode(ids, skip_special_tokens=True)
    stops = [whole[place : place + draw.randint(1, 4)] for place in (40, 60)]
    words, said = Wording(tokenizer, [], stops), ""
    for token in ids:
        said += words.add(token)
        if words.stopped:
            break
    assert said + words.end() == whole[: min(whole.find(stop) for stop in stops)]


def endless():
    """One that writes until it may not."""
    model = model_of("gpt2")
    model.generation_config.eos_token_id = None
    return model


def all_of(piece, begun=()):
    """What was told already, and the rest up to the end."""
    return "".join(filter(None, begun)) + ("" if None in begun else "".join(iter(piece, None)))
