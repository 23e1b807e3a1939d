"""Words of a text, and words as running text again; characters of Chinese and Japanese stand alone, without spaces."""

import re
from collections.abc import Iterator, Sequence

import regex

_SIGN = r"\X"  # with all that belongs to it
_WORD = regex.compile(rf"[\p{{Han}}\p{{Hiragana}}\p{{Katakana}}]\p{{M}}*|[\p{{L}}\p{{N}}_][\p{{L}}\p{{N}}\p{{M}}_]*|{_SIGN}")
_NO_SPACE = re.compile("[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")


def cut(text: str) -> list[tuple[str, int]]:
    """Words and where each begins: runs of letters and digits, single signs (an emoji is one, whatever it is made of)."""
    return [(found.group(), found.start()) for found in _WORD.finditer(text) if not found.group().isspace()]


def spaced(words: Sequence[str]) -> list[str]:
    """The words, each with the space that stands before it in running text; tokenizers that know spaces read them so."""
    return [f" {word}" if i and _parted(words[i - 1], word) else word for i, word in enumerate(words)]


def placed(words: Sequence[str], text: str) -> list[tuple[int, int]] | None:
    """Where each word begins and ends in the text; None where the text is not made of these words."""
    found = list(_places(words, text))
    return found if len(found) == len(words) else None


def _places(words: Sequence[str], text: str) -> Iterator[tuple[int, int]]:
    end = 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return
        end = start + len(word)
        yield start, end


def _parted(before: str, word: str) -> bool:
    return not (_NO_SPACE.match(before[-1:]) or _NO_SPACE.match(word))
