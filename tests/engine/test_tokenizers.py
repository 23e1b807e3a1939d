"""Tokenizers learnt from rows: the same for the same rows, loaded by anyone, and fit for Chinese."""

import hashlib
import itertools
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from penjing.core.new_text import NewText
from penjing.engine import tokenizers

ROOT = Path(__file__).parents[2]
KINDS = ("wordpiece", "bpe", "unigram")
ENGLISH = ["the", "room", "was", "lovely", "Awfully", "cold", "and", "we", "didn't", "like", "it", "breakfast", "naïve"]
CHINESE = ["酒店", "房间", "很", "干净", "服务", "态度", "不好", "早餐", "wifi", "太", "慢", "了"]


def texts(num_texts=300):
    """Sentences in English, then in Chinese, which has no spaces."""
    draw = random.Random(0)

    def sentence(i):
        if i % 2:
            return " ".join(draw.choices(ENGLISH, k=8)) + "."
        return "".join(draw.choices(CHINESE, k=9)) + "，" + "".join(draw.choices(CHINESE, k=4))

    return [sentence(i) for i in range(num_texts)]


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """One of each kind: as it was learnt, and the directory it was saved to."""
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = tokenizers.train(texts, NewText(request.param, 400))
    tokenizer.save_pretrained(folder)
    BertConfig().save_pretrained(folder)
    return tokenizer, folder


def test_plain_transformers_loads_the_same_tokens(saved):
    tokenizer, folder = saved
    loaded = AutoTokenizer.from_pretrained(folder)
    for pair in itertools.pairwise([*texts(20), "Unheard-of 龘 😀\tx", "", "[MASK] it"]):
        assert dict(loaded(*pair)) == dict(tokenizer(*pair))
    assert loaded.model_max_length == NewText().window


def test_special_tokens_stand_where_models_like_bert_want_them(saved):
    tokenizer, _ = saved
    pad, unknown, first, last, mask = range(5)
    assert [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.cls_token_id, tokenizer.sep_token_id] == [pad, unknown, first, last]
    assert tokenizer.mask_token_id == mask and len(tokenizer.all_special_tokens) == 5
    batch = tokenizer(["the room", "it"], ["was [MASK]", "cold and cold"], padding=True, return_tensors="pt")
    ids, kinds = batch["input_ids"], batch["token_type_ids"]
    assert (ids[:, 0] == first).all() and ((ids == last).sum(1) == 2).all() and (ids[0] == mask).sum() == 1
    assert kinds[0].tolist().count(1) == (tokenizer("was [MASK]", return_tensors="pt")["input_ids"].shape[1] - 1)
    assert (batch["attention_mask"] == (ids != pad)).all()
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    )
    assert torch.isfinite(model(**batch).logits).all()


TEXTS = [
    "It's 5 o'clock — naïve café!",
    "酒店很好，下次还来。",
    "日本語のカタカナ",
    "mixed 中文and English",
    "👩‍👩‍👧 😀🏳️‍🌈",
    " two  spaces\tand\nlines ",
    "ไทย \x00\ufeff",
]


@pytest.mark.parametrize("text", TEXTS)
def test_byte_pairs_give_back_every_text(text):
    tokenizer = tokenizers.train(texts, NewText("bpe", 400))
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text and tokenizer.unk_token_id not in ids


def test_unigram_gives_back_what_it_knows_in_lower_case():
    tokenizer = tokenizers.train(texts, NewText("unigram", 400))
    for text in texts(20):
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text.lower().replace("，", ",")


def test_chinese_is_cut_by_character_in_word_pieces_and_by_word_in_the_others():
    cut = {kind: tokenizers.train(texts, NewText(kind, 600)).tokenize("酒店wifi干净") for kind in KINDS}
    assert cut["wordpiece"] == ["酒", "店", "wifi", "干", "净"]
    assert cut["unigram"] == ["酒店", "wifi", "干净"]
    assert len(cut["bpe"]) == 3


def digests(folder):
    """Of what is saved when 600 texts are learnt."""
    found = []
    for kind in KINDS:
        tokenizers.train(lambda: texts(600), NewText(kind, 700)).save_pretrained(folder / kind)
        found.append(hashlib.sha256((folder / kind / "tokenizer.json").read_bytes()).hexdigest())
    return found


def test_the_same_rows_give_the_same_file_in_every_process(tmp_path):
    """`tokenizers` seeds every hash map anew; Python its own in every process."""
    here = digests(tmp_path / "here")
    assert here == digests(tmp_path / "again") and len(set(here)) == 3
    code = "import pathlib; from tests.engine.test_tokenizers import digests; print(*digests(pathlib.Path('there')))"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join([*sys.path, str(ROOT)]), "TOKENIZERS_PARALLELISM": "false"}
    there = subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=tmp_path, capture_output=True, text=True)
    assert there.stdout.split() == here


def test_what_a_card_says_is_counted_from_the_rows():
    tokenizer = tokenizers.train(texts, NewText("wordpiece", 400))
    read = ["the room", "龘 room"]
    facts = tokenizers.describe(tokenizer, read)
    known = [tokenizer.tokenize(text) for text in read]
    assert facts["kind"] == "wordpiece" and facts["vocabulary"] == len(tokenizer)
    assert facts["tokens_per_text"] == sum(map(len, known)) / 2
    assert facts["tokens_per_character"] == sum(map(len, known)) / sum(map(len, read))
    assert facts["unknown_share"] == 1 / sum(map(len, known))


def test_few_texts_and_many_letters_are_learnt_from_too():
    """A vocabulary smaller than the letters holds the letters; one that is never filled is smaller than asked for."""
    letters = [chr(0x4E00 + i) for i in range(500)]
    for kind in KINDS:
        assert len(tokenizers.train(lambda: ["a b"], NewText(kind))) < 8000
    for kind in ("wordpiece", "unigram"):
        tokenizer = tokenizers.train(lambda: letters, NewText(kind, 300))
        assert tokenizer.unk_token_id not in tokenizer("".join(letters), truncation=True, max_length=600)["input_ids"]
