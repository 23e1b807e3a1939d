"""Which of many texts is found by another, and at which place the right one is.

Letters   n rows, m different texts, D numbers of a vector
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy
from scipy.sparse import issparse

MOST = 10  # places that count
_AT_ONCE = 1024  # rows


def ranked(first: Any, second: Any, texts: Sequence[str]) -> Iterator[tuple[dict[str, Any], float]]:
    """For each row the text that its first vector is nearest to, the place of its own, None beyond MOST, and the cosine found.

    first, second   (n, D) of length 1, dense or sparse
    texts           (n,) of the second vectors; those of one text are one, and of equally near ones the row's own is first
    """
    places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
    own = numpy.array([places[text] for text in texts])
    chosen = numpy.unique(own, return_index=True)[1]
    pool, said = second[chosen], [*places]
    for start in range(0, len(texts), _AT_ONCE):
        rows = own[start : start + _AT_ONCE]
        near = first[start : start + _AT_ONCE] @ pool.T
        near = near.toarray() if issparse(near) else near
        mine = near[numpy.arange(len(rows)), rows]
        ranks = 1 + (near > mine[:, None]).sum(1)
        best = numpy.where(ranks == 1, rows, near.argmax(1))
        for i, (rank, place) in enumerate(zip(ranks.tolist(), best.tolist())):
            yield {"text": said[place], "rank": rank if rank <= MOST else None}, min(1.0, max(0.0, float(near[i, place])))
