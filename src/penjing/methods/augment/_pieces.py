"""A text as words and what stands between them; in scripts without spaces each character is a word."""

import re

_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0eff\U00020000-\U0003ffff"  # Kana, Han, Thai, Lao: no spaces between words
_LONE = re.compile(f"[{_ALONE}]")
_PIECES = re.compile(rf"\s+|[{_ALONE}]|[^\s{_ALONE}]+")


def pieces_of(text: str) -> list[str]:
    """Words and white space, in their order; joined they are the text."""
    return _PIECES.findall(text)


def words_in(pieces: list[str]) -> list[int]:
    """Which of the pieces are words."""
    return [i for i, piece in enumerate(pieces) if not piece.isspace()]


def joined(*texts: str) -> str:
    """The texts one after the other, with a space between unless both are of scripts without."""
    whole = ""
    for text in filter(None, texts):
        alone = whole and _LONE.fullmatch(whole[-1]) and _LONE.fullmatch(text[0])
        whole += text if not whole or alone else f" {text}"
    return whole
