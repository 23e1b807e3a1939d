"""A batch computed in pieces: as many at once as there are threads, and texts of like length together, so that few are padded."""

from collections.abc import Callable, Collection, Iterable, Mapping

import numpy
from numpy import ndarray

TEXTS = 2, 8  # in a piece, fewest and most: what products gain from more ends there (int8, one thread: 2.7 ms a text, then 2.4)
PIECES = (8, 4)  # at least, so that the lengths in each are alike; for each thread, so that all end together

Arrays = Mapping[str, ndarray]


def in_pieces(
    run: Callable[[Arrays], Arrays], inputs: Arrays, along: Collection[str], each: Callable[..., Iterable[Arrays]], threads: int
) -> Arrays:
    """What `run(inputs)` gives, of a model whose rows do not interact.

    each     `map`, or that of a pool of so many threads
    inputs   arrays (B, ...); of input_ids and attention_mask (B, T) each piece gets the tokens up to the last that one of its rows has
    along    outputs (B, T, ...) that have an entry for each token; zeros stand for those that no piece was asked for
    """
    rows = len(next(iter(inputs.values())))
    if "input_ids" not in inputs or "attention_mask" not in inputs:
        parts = numpy.array_split(numpy.arange(rows), min(rows, threads))
        return _joined(list(each(lambda part: run({name: value[part] for name, value in inputs.items()}), parts)), parts, {})
    width = inputs["attention_mask"].shape[1]
    lengths = width - inputs["attention_mask"][:, ::-1].argmax(1)
    longest_first = numpy.argsort(-lengths, kind="stable")  # so that no thread begins one at the end
    few, many = TEXTS
    texts = max(few, min(many, rows // max(PIECES[0], PIECES[1] * threads)))
    parts = numpy.array_split(longest_first, max(-(-rows // texts), min(rows, threads)))
    return _joined(list(each(lambda part: run(_cut(inputs, part, lengths[part].max())), parts)), parts, dict.fromkeys(along, int(width)))


def _cut(inputs: Arrays, part: ndarray, length: int) -> Arrays:
    """These rows and their first `length` tokens; contiguous, as engines want them."""
    return {name: numpy.ascontiguousarray(value[part, :length] if value.ndim == 2 else value[part]) for name, value in inputs.items()}


def _joined(found: list[Arrays], parts: list[ndarray], widths: Mapping[str, int]) -> Arrays:
    """The outputs of all pieces, each row in its place."""
    rows, whole = sum(map(len, parts)), {}
    for name, first in found[0].items():
        shape = (rows, widths[name], *first.shape[2:]) if name in widths else (rows, *first.shape[1:])
        whole[name] = numpy.zeros(shape, first.dtype)
        for part, piece in zip(parts, found):
            place = (part, slice(piece[name].shape[1])) if name in widths else part
            whole[name][place] = piece[name]
    return whole
