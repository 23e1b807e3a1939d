"""Tokenizers of new text models, learnt from the training rows; each saves as a directory that AutoTokenizer loads.

             before it cuts           cuts first                        Chinese characters
wordpiece    lower case, no accents   at spaces and punctuation         stand alone, as in BERT
bpe          bytes as they are        by the pattern of GPT-2           a run of them is one word, so that frequent words become pieces
unigram      NFKC, lower case         at spaces                         as with bpe
word         text as it is            at spaces; a line's end is a      a run of them is one word
                                      word: for text that has been cut

All have [PAD], [UNK], [CLS], [SEP], [MASK] as tokens 0 to 4 and write [CLS] a [SEP] b [SEP]; those of a model that goes on with a text
write nothing around it, and [SEP] is what ends one. With bpe nothing is unknown, and what is
decoded is the text, byte by byte. Other scripts without spaces (Thai, Khmer) are cut at punctuation only.

The same rows give the same file in every process. `tokenizers` 0.23 counts in hash maps whose order differs from process to process, which
reaches the result: for wordpiece in the numbers of continuing letters, and through them in which of two equally frequent pairs is merged;
for unigram in the last digits of scores, and in the scores of letters that its training gave none. `_wordpiece` and `_settled` take it out.

Sources   Schuster, Nakajima 2012 (wordpiece); Sennrich, Haddow, Birch 2016, and Radford et al. 2019, section 2.2 (byte pairs);
          Kudo 2018, section 3.2 (unigram)
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast

from penjing.core.new_text import NewText

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
_SPECIALS = list(SPECIAL.values())
_CHAT = (  # who speaks, then what he says; what the assistant says has an end
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% if m['role'] == 'assistant' %}[SEP]{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
_HAN = Regex(r"[\p{Han}\p{Hiragana}\p{Katakana}ー]+")  # Japanese mixes the three within a word
_RUNG = 1e-4  # by how much `tokenizers` raises the score of each next letter that the training of unigram gave none
_DIGITS = 6  # of a score; the order of summation moves the 12th and later

Texts = Callable[[], Iterable[str]]


def train(texts: Texts, new_text: NewText, writes: bool = False, goes_on: bool = False) -> Any:
    """A tokenizer learnt from texts, which are read once or twice.

    writes    whether it is for a model that writes
    goes_on   and goes on with a text

    Fewer pieces than asked for where the texts do not hold more; more where their letters alone are more.
    """
    kind = new_text.tokenizer or ("bpe" if writes else "wordpiece")
    tokenizer = _KINDS[kind](texts, new_text.size)
    tokenizer.model_max_length = new_text.window
    if writes:
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    if goes_on:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single="$A", pair="$A $B:1", special_tokens=[])
        tokenizer.bos_token = tokenizer.eos_token = SPECIAL["sep_token"]
        tokenizer.chat_template = _CHAT
    return tokenizer


def describe(tokenizer: Any, texts: Iterable[str]) -> dict[str, Any]:
    """What a card says of a tokenizer: kind and size, and of `texts` how many tokens they become and which share of these is unknown."""
    read = list(texts)
    tokens = [each.ids for each in tokenizer(read, add_special_tokens=False, truncation=False, verbose=False).encodings]
    count, unknown = sum(map(len, tokens)), sum(ids.count(tokenizer.unk_token_id) for ids in tokens)
    return {
        "kind": type(tokenizer.backend_tokenizer.model).__name__.lower(),
        "vocabulary": len(tokenizer),
        "tokens_per_text": count / max(1, len(read)),
        "tokens_per_character": count / max(1, sum(map(len, read))),
        "unknown_share": unknown / max(1, count),
    }


def _wordpiece(texts: Texts, size: int) -> Any:
    def learn(size: int, first: list[str]) -> dict[str, int]:
        tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL["unk_token"]))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        tokenizer.train_from_iterator(texts(), trainers.WordPieceTrainer(vocab_size=size, special_tokens=first, show_progress=False))
        return tokenizer.get_vocab()

    letters = learn(0, _SPECIALS).keys() - set(_SPECIALS)  # without a merge: letters, and ## before those that continue a word
    numbered = sorted(letters, key=lambda letter: (len(letter), letter))
    return BertTokenizer(vocab=learn(size, [*_SPECIALS, *numbered]), do_lower_case=True)


def _bpe(texts: Texts, size: int) -> Any:
    tokenizer = Tokenizer(models.BPE())
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(_HAN, "isolated"), bytewise])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=_SPECIALS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts(), trainer)
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=True), _template()])
    return _wrapped(tokenizer)


def _word(texts: Texts, size: int) -> Any:
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Split(Regex(r"[^\S\n]+"), "removed")]
    )
    tokenizer.train_from_iterator(texts(), trainers.WordLevelTrainer(vocab_size=size, special_tokens=_SPECIALS, show_progress=False))
    tokenizer.post_processor = _template()
    return _wrapped(tokenizer)


def _unigram(texts: Texts, size: int) -> Any:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    spaces = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([spaces, pre_tokenizers.Split(_HAN, "isolated")])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    letters = {letter for text in texts() for letter in tokenizer.normalizer.normalize_str(text)}
    trainer = trainers.UnigramTrainer(
        vocab_size=max(size, len(_SPECIALS) + 1 + len(letters)),  # with fewer it refuses
        special_tokens=_SPECIALS,
        unk_token=SPECIAL["unk_token"],
        initial_alphabet=["▁"],  # the space, which texts in Chinese may not have
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    learnt = json.loads(tokenizer.to_str())["model"]["vocab"]
    pieces = [(token, 0.0) for token in _SPECIALS] + _settled(learnt[len(_SPECIALS) :])
    tokenizer.model = models.Unigram(pieces, unk_id=_SPECIALS.index(SPECIAL["unk_token"]), byte_fallback=False)
    tokenizer.post_processor = _template()
    return _wrapped(tokenizer)


def _settled(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Pieces with their log probabilities, freed of what the order of a hash map left in them; most probable first.

    A letter that the training gave no probability has the least of all plus a rung of a ladder, one for each such letter as they came; here
    all have the least.
    """
    least = min(score for _, score in pieces)
    top = least + _RUNG * sum(len(piece) == 1 for piece, _ in pieces)

    def settle(piece: str, score: float) -> float:
        rung = (score - least) / _RUNG
        climbed = len(piece) == 1 and score <= top and abs(rung - round(rung)) < 1e-3
        return round(least if climbed else score, _DIGITS)

    return sorted(((piece, settle(piece, score)) for piece, score in pieces), key=lambda pair: (-pair[1], pair[0]))


def _template() -> Any:
    """[CLS] a [SEP], and [CLS] a [SEP] b [SEP] with 1 as the type of what belongs to b."""
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    return processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B:1 {last}:1",
        special_tokens=[(token, _SPECIALS.index(token)) for token in (first, last)],
    )


def _wrapped(tokenizer: Tokenizer) -> Any:
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, clean_up_tokenization_spaces=False, **SPECIAL)


_KINDS = {"wordpiece": _wordpiece, "bpe": _bpe, "unigram": _unigram, "word": _word}
