"""Entities and the tags that spell them: BIO (B begins, I goes on, O is outside) and BIOES (E ends, S stands alone).

Tags that no entity can have, an I behind an O or behind another type, are read as conlleval and seqeval read them: an entity begins there.

Source: Ramshaw and Marcus 1995; Tjong Kim Sang and Buchholz 2000 (conlleval)
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

OUTSIDE = "O"
_TAG = re.compile(r"[BIES]-.+", re.DOTALL)


class Span(NamedTuple):
    """An entity: its label, and the words first to end - 1."""

    label: str
    first: int
    end: int


def spell_spans(labels: Sequence[str]) -> bool:
    """Whether all labels are tags of BIO or BIOES."""
    marked = [label for label in labels if label != OUTSIDE]
    return bool(marked) and all(_TAG.fullmatch(label) for label in marked)


def spans(tags: Sequence[str]) -> list[Span]:
    """The entities that tags spell, in their order."""
    found: list[Span] = []
    goes_on = False  # whether the entity before may take the word in
    for i, tag in enumerate(tags):
        mark, label = tag[:1], tag[2:]
        if mark in "IE" and goes_on and found[-1].label == label:
            found[-1] = found[-1]._replace(end=i + 1)
        elif tag != OUTSIDE:
            found.append(Span(label, i, i + 1))
        goes_on = mark in "BI" and tag != OUTSIDE
    return found


def repaired(tags: Sequence[str], known: Collection[str]) -> list[str]:
    """The tags that spell the same entities in the usual way; an entity that needs a tag which is not `known` keeps its own."""
    found = list(tags)
    for span in spans(tags):
        usual = _spelt(span, any(tag[:2] in ("S-", "E-") for tag in known))
        if set(usual) <= set(known):
            found[span.first : span.end] = usual
    return found


def tags_of(entities: Sequence[Span], num_words: int) -> list[str]:
    """BIO tags of words; entities do not overlap."""
    tags = [OUTSIDE] * num_words
    for span in entities:
        tags[span.first : span.end] = _spelt(span, False)
    return tags


def _spelt(span: Span, bioes: bool) -> list[str]:
    inside = span.end - span.first - 1
    marks = "B" + "I" * inside if not bioes else "B" + "I" * (inside - 1) + "E" if inside else "S"
    return [f"{mark}-{span.label}" for mark in marks]
