"""The form in which near duplicates are equal: as the definition reads it, character by character."""

import random
import sys
import unicodedata

import pyarrow
import pytest

from penjing.core.content import normalised

EVERY = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
MARKS = {"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Zs", "Zl", "Zp", "Cc", "Cf"}


def plainly(text):
    """The definition, slowly."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    if any(unicodedata.category(letter)[0] == "L" for letter in folded):
        return "".join(letter for letter in folded if unicodedata.category(letter) not in MARKS)
    return folded.strip()


def test_text_is_made_alike_as_its_definition_says():
    draw = random.Random(0)
    kinds = [EVERY[:128], EVERY[:0x300], EVERY[:0x3000], EVERY]
    texts = ["".join(draw.choices(draw.choice(kinds), k=draw.randrange(9))) for _ in range(20_000)] + EVERY[:0x3100]
    texts = [text for text in texts if all(unicodedata.category(letter) != "Cn" for letter in text)]  # Arrow knows newer letters
    assert normalised(pyarrow.array(texts)) == [plainly(text).encode() for text in texts]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Good, good!", "good  GOOD"),
        ("ｇｏｏｄ　film。", "Good film."),
        ("Straße", "STRASSE"),
        (" :-) ", ":-)"),
        ("café", "cafe\u0301"),
        (None, ""),
    ],
)
def test_what_differs_only_in_looks_is_one(text, same):
    one, other = normalised(pyarrow.array([text, same]))
    assert one == other


@pytest.mark.parametrize(("text", "other"), [("C++", "C"), ("-1", "1"), (":-)", ":-("), ("café", "cafe")])
def test_what_differs_in_meaning_stays_two(text, other):
    one, two = normalised(pyarrow.array([text, other]))
    assert one != two
