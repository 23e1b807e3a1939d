"""Labels that look alike: "Good" and "good " are two labels to a machine and one to whoever typed them."""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence


def alike(counts: Mapping[str, int], known: Sequence[str] = ()) -> dict[str, str]:
    """Spellings that differ in case, width or white space alone -> the most frequent of them, itself left out.

    known   spellings that a model has: they are never changed, and others become theirs

    >>> alike({"Good": 20, "good ": 3, "bad": 9})
    {'good ': 'Good'}
    """
    same: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts, key=lambda label: (label not in known, -counts[label], label)):
        same[_plain(label)].append(label)
    return {other: first for first, *others in same.values() for other in others if other not in known}


def _plain(label: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
