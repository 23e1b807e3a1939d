"""Which tag follows which: what a tagger that tells each word by itself does not know of its neighbours.

A chain of tags is scored by what the model says of each word and by how much likelier a tag is behind the one before it than anywhere, as
counted in the training rows; the best chain is found by dynamic programming. A conditional random field learns these scores beside the
model; counted ones cost nothing, fit any model, and have one number to choose, their weight, which is chosen on tune rows.

Letters  M words of a row, C tags; tag C stands before the first word

Sources  Rabiner 1989, "A tutorial on hidden Markov models", section III.B (Viterbi); Lafferty, McCallum, Pereira 2001 (the field)
"""

from collections.abc import Iterable, Sequence

import numpy

WEIGHTS = (0.0, 0.25, 0.5, 1.0)
_UNSEEN = 0.1  # of a count, for what never occurs


def counted(rows: Iterable[Sequence[int]], num_tags: int) -> numpy.ndarray:
    """(C + 1, C) log P(tag | tag before) - log P(tag) over rows of tags."""
    counts = numpy.full((num_tags + 1, num_tags), _UNSEEN)
    for row in rows:
        numpy.add.at(counts, ([num_tags, *row[:-1]], [*row]), 1)
    return numpy.log(counts / counts.sum(1, keepdims=True)) - numpy.log(counts.sum(0) / counts.sum())


def best_chain(scores: numpy.ndarray, follows: numpy.ndarray) -> list[int]:
    """The tags (M,) of which the sum of scores (M, C) and of `follows` (C + 1, C) is largest."""
    reached, came = scores[0] + follows[-1], []
    for score in scores[1:]:
        each = reached[:, None] + follows[:-1]
        came.append(each.argmax(0))
        reached = each.max(0) + score
    tags = [int(reached.argmax())]
    for before in reversed(came):
        tags.append(int(before[tags[-1]]))
    return tags[::-1]
