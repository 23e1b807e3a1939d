"""Fewer tokens: text of kept tokens is cut as before and answered as before, other text into smaller pieces, whatever the tokenizer."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

import penjing
from penjing.core.errors import ModelError
from penjing.core.find import find
from penjing.core.model_dir import ModelDir
from penjing.core.new_text import NewText
from penjing.core.runtime import Runtime
from penjing.engine import create, load
from penjing.engine.anatomy import anatomy, with_weights
from penjing.engine.batches import tokens_of
from penjing.methods.prune import Shown, vocabulary
from penjing.methods.prune._tokenizer import closed, trimmed

WORDS = [("old", "nobody"), ("splendid", "somebody"), ("unbelievably tall", "the gardener"), ("dying", "酒店")]
ROWS = [
    {"text": f"The {i}th tree of the garden is {word}, 盆景 number {i} is small; who waters it? {other} does."}
    for i, (word, other) in enumerate(WORDS * 6)
]
OTHERS = ["an unbelievable story", "服务也不错。", "naïve café", "gardens are wonderful!!"]


def made(tokenizer, task="text-classification", size="bert-tiny"):
    kind = find("tasks", task).TASK
    labels = ["a", "b"] if task == "text-classification" else []
    return create.create(size, kind(labels), ROWS, Runtime(), new_text=NewText(tokenizer, 400))


def shown(whole, rows):
    return Shown(whole.model.state_dict(), [], whole.task.loss, whole.processor, lambda: tokens_of(rows, whole.task, whole.processor, True))


@pytest.mark.parametrize("tokenizer", ["wordpiece", "bpe", "unigram", "word"])
def test_a_text_whose_tokens_stay_is_cut_as_before_and_any_other_into_letters_at_least(tokenizer, tmp_path):
    whole = made(tokenizer).processor
    few = [row["text"] for row in ROWS[:2]]
    used = {token for text in few for token in whole(text)["input_ids"]}
    kept = sorted(closed(whole, used))
    small = trimmed(whole, kept)
    assert len(small) == len(kept) < len(whole)
    for text in few:
        assert small.tokenize(text) == whole.tokenize(text)
        assert small(text, "who?")["input_ids"] == [kept.index(token) for token in whole(text, "who?")["input_ids"]]
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path)
    for text in [row["text"] for row in ROWS] + OTHERS:
        assert again(text)["input_ids"] == small(text)["input_ids"]
        if tokenizer != "word":  # nothing becomes unknown whose letters were known
            assert small(text)["input_ids"].count(small.unk_token_id) <= whole(text)["input_ids"].count(whole.unk_token_id)
        if {*whole(text)["input_ids"]} <= {*kept}:
            assert small.tokenize(text) == whole.tokenize(text)


@pytest.mark.parametrize(
    ("task", "size"), [("text-classification", "bert-tiny"), ("text-generation", "llama-tiny"), ("fill-mask", "modernbert-mini")]
)
def test_the_numbers_of_tokens_change_and_the_answers_do_not(task, size):
    whole = made("bpe", task, size)
    small = vocabulary.apply(whole.model, anatomy(whole.model), shown(whole, ROWS[:6]), vocabulary.Options())
    model = with_weights(whole.model, small.changes, small.weights).eval()
    assert model.config.vocab_size == len(small.processor) < whole.model.config.vocab_size
    text = ROWS[0]["text"]
    mine = model(**small.processor(text, return_tensors="pt")).logits
    theirs = whole.model.eval()(**whole.processor(text, return_tensors="pt")).logits
    if mine.shape[-1] == model.config.vocab_size:
        names = small.processor.convert_ids_to_tokens(range(model.config.vocab_size))
        theirs = theirs[..., whole.processor.convert_tokens_to_ids(names)]
    torch.testing.assert_close(mine, theirs)
    for role in ("pad", "eos"):
        number = getattr(model.config, f"{role}_token_id", None)
        if number is not None:
            old = getattr(whole.model.config, f"{role}_token_id")
            assert small.processor.convert_ids_to_tokens(number) == whole.processor.convert_ids_to_tokens(old)


def test_a_share_of_the_tokens_that_no_row_uses_may_stay():
    whole = made("wordpiece")
    few = shown(whole, ROWS[:1])
    sizes = [
        len(vocabulary.apply(whole.model, anatomy(whole.model), few, vocabulary.Options(share)).processor) for share in (0.01, 0.8, 1.0)
    ]
    assert sizes[0] < sizes[1] == round(0.8 * sizes[2]) and sizes[2] == len(whole.processor)


def test_the_command_leaves_a_smaller_model_that_opens_in_the_public_way(text_parent, reviews, runtime, tmp_path):
    model, report = penjing.prune(text_parent, reviews, method="vocabulary", out=tmp_path / "small", runtime=runtime)
    assert report.after["accuracy"].value > 0.9 and report.facts["training"] == {} and 0 < report.facts["removed"]["new_text_share"] < 0.5
    assert model.bytes() < ModelDir.open(text_parent).bytes()
    loaded = load.load(model, load.task_for(model), Runtime())
    assert loaded.model.config.vocab_size == len(loaded.processor)


def test_the_marks_by_which_a_model_writes_are_numbered_anew_in_both_of_its_settings():
    whole = made("bpe", "text-generation", "llama-tiny")
    end = whole.processor.eos_token_id
    whole.model.config.eos_token_id = [end, whole.processor.pad_token_id]
    whole.model.generation_config.update(eos_token_id=[end, whole.processor.pad_token_id], pad_token_id=whole.processor.mask_token_id)
    small = vocabulary.apply(whole.model, anatomy(whole.model), shown(whole, ROWS[:6]), vocabulary.Options())
    model = with_weights(whole.model, small.changes, small.weights, small.generation)
    marks = [small.processor.eos_token_id, small.processor.pad_token_id]
    assert model.config.eos_token_id == model.generation_config.eos_token_id == marks
    assert model.generation_config.pad_token_id == small.processor.mask_token_id
    assert whole.model.generation_config.eos_token_id == [end, whole.processor.pad_token_id]


def test_bytes_stay_whatever_the_rows_use():
    whole = made("bpe").processor
    small = trimmed(whole, sorted(closed(whole, whole("The old tree of the garden")["input_ids"])))
    for text in [*OTHERS, "£5 ©", "👩‍💻 Ωмега"]:
        assert small.decode(small(text)["input_ids"], skip_special_tokens=True) == text


@pytest.mark.parametrize("words", [{"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}], ids=["suffix", "prefix"])
def test_pieces_that_say_where_a_word_ends_or_goes_on_are_merged_as_before(words):
    text = "the garden of the old gardener and the quiz of iraq"
    learnt = Tokenizer(models.BPE(unk_token="<unk>", **words))
    learnt.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "<pad>"], show_progress=False, **words)
    learnt.train_from_iterator([text] * 20, trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=learnt, pad_token="<pad>")  # which does not say what is unknown
    small = trimmed(whole, sorted(closed(whole, whole("the old garden")["input_ids"])))
    assert small.tokenize("the old garden") == whole.tokenize("the old garden") and len(small) < len(whole)
    assert "<unk>" not in small.tokenize(text) and "<unk>" in small.tokenize("盆")


def test_what_is_never_written_is_numbered_anew_or_left_out_with_its_token():
    whole = made("bpe", "text-generation", "llama-tiny")
    few = shown(whole, ROWS[:1])
    used, others = min(few.tokens()), max({*range(len(whole.processor))} - closed(whole.processor, few.tokens()))
    whole.model.generation_config.update(suppress_tokens=[used, others], bad_words_ids=[[used], [used, others]])
    small = vocabulary.apply(whole.model, anatomy(whole.model), few, vocabulary.Options())
    now = small.processor.convert_tokens_to_ids(whole.processor.convert_ids_to_tokens(used))
    assert small.generation.suppress_tokens == [now] and small.generation.bad_words_ids == [[now]]
    whole.model.generation_config.update(sequence_bias={(used,): 1.0})
    with pytest.raises(ModelError, match="sequence_bias"):
        vocabulary.apply(whole.model, anatomy(whole.model), few, vocabulary.Options())
