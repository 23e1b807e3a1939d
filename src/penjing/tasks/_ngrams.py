"""The baseline of language: how often a token stood where two others stand, smoothed.

Text is told from the two tokens before, a masked token from the one before and the one behind: a position is (far, near, token).

Source   Kneser, Ney 1995; interpolated as in Chen, Goodman 1999, "An empirical study of smoothing techniques", section 3

Letters   K positions
"""

from typing import Any

import numpy
from sklearn.base import BaseEstimator

from penjing.tasks._language import INPUTS, NONE, SIZE, TOKENS, Told

_BITS = 20  # of a token; three make a key


class NGrams(BaseEstimator):
    """Rows as lists of encoded entries to `Told`."""

    discount = 0.75

    def fit(self, rows, answers):
        every = numpy.concatenate([_positions(entry, every=True) for row in rows for entry in row])  # (K, 3)
        three, counts = numpy.unique(_key(every), return_counts=True)
        two, kinds_of_two = numpy.unique(three & _mask(2), return_counts=True)  # of how many kinds the token before is
        one, kinds_of_one = numpy.unique(two & _mask(1), return_counts=True)
        self.levels_ = [_Level(three, counts), _Level(two, kinds_of_two)]
        self.tokens_, self.chances_ = one, (kinds_of_one - self.discount) / kinds_of_one.sum()
        self.unseen_ = self.discount / kinds_of_one.sum()  # of the mass of one token each, shared among as many as there are
        self.usual_ = int(one[kinds_of_one.argmax()])
        return self

    def predict(self, rows):
        return [self._told(row) for row in rows]

    def _told(self, row: list[dict[str, Any]]) -> Told:
        asked = numpy.concatenate([_positions(entry) for entry in row])
        keys, token = _key(asked), asked[:, 2]
        place = numpy.minimum(numpy.searchsorted(self.tokens_, token), len(self.tokens_) - 1)
        chance = numpy.where(self.tokens_[place] == token, self.chances_[place], 0) + self.unseen_
        best = numpy.full(len(keys), self.usual_)
        for level, width in ((self.levels_[1], 2), (self.levels_[0], 3)):
            chance, best = level.sharpened(keys & _mask(width), chance, best, self.discount)
        return Told(float(-numpy.log(chance).sum()), len(token), int((best == token).sum()), sum(entry.get(SIZE, 0) for entry in row))


class _Level:
    """Counts of sorted keys whose last token is told by the others, its context."""

    def __init__(self, keys: numpy.ndarray, counts: numpy.ndarray):
        self.keys, self.counts = keys, counts
        self.contexts, start = numpy.unique(keys >> _BITS, return_index=True)
        self.totals, self.kinds = numpy.add.reduceat(counts, start), numpy.diff(numpy.append(start, len(keys)))
        order = numpy.lexsort((counts, keys >> _BITS))
        self.best = (keys[order] & _mask(1))[numpy.append(start[1:], len(keys)) - 1]

    def sharpened(
        self, keys: numpy.ndarray, chance: numpy.ndarray, best: numpy.ndarray, discount: float
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Chances of tokens and the likeliest ones, where a shorter context gave `chance` and `best`."""
        context = keys >> _BITS
        place = numpy.minimum(numpy.searchsorted(self.contexts, context), len(self.contexts) - 1)
        known = self.contexts[place] == context
        found = numpy.minimum(numpy.searchsorted(self.keys, keys), len(self.keys) - 1)
        counts = numpy.where(self.keys[found] == keys, self.counts[found] - discount, 0)
        mixed = (counts + discount * self.kinds[place] * chance) / self.totals[place]
        return numpy.where(known, mixed, chance), numpy.where(known, self.best[place], best)


def _mask(tokens: int) -> int:
    return (1 << _BITS * tokens) - 1


def _key(positions: numpy.ndarray) -> numpy.ndarray:
    return (positions[:, 0] << 2 * _BITS) | (positions[:, 1] << _BITS) | positions[:, 2]


def _positions(entry: dict[str, Any], every: bool = False) -> numpy.ndarray:
    """(K, 3) int64: what is told in an entry, or with `every` all that could be told in it."""
    seen, told = numpy.array(entry[INPUTS], numpy.int64), numpy.array(entry[TOKENS], numpy.int64)
    if entry.get("masked"):
        whole = numpy.where(told == NONE, seen, told) if every else seen
        places = numpy.arange(1, len(seen) - 1) if every else numpy.flatnonzero(told != NONE)
        behind, before = numpy.append(whole, 0)[places + 1], whole[places - 1]
        return numpy.stack([behind, before, numpy.where(told == NONE, seen, told)[places]], 1)
    places = numpy.flatnonzero(told != NONE)
    before = numpy.where(places > 0, seen[places - 1], 0)
    return numpy.stack([before, seen[places], told[places]], 1)
