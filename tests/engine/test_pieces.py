from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest

from penjing.engine.pieces import in_pieces

LENGTHS = [3, 9, 1, 5, 5, 2, 9]


def texts(side="right"):
    """Seven rows of 9 tokens or fewer, and a mask."""
    number = numpy.random.default_rng(0)
    ids = number.integers(1, 100, (7, 9))
    mask = numpy.array([[position < length for position in range(9)] for length in LENGTHS]).astype("int64")
    return {"input_ids": ids, "attention_mask": mask if side == "right" else mask[:, ::-1].copy()}


def model(inputs):
    """A sum for each row and a number for each token, neither of which looks at padding."""
    tokens = inputs["input_ids"] * inputs["attention_mask"]
    return {"logits": tokens.sum(1, keepdims=True) ** 0.5, "states": numpy.stack([tokens, -tokens], -1)}


@pytest.mark.parametrize("threads", [1, 3, 16])
@pytest.mark.parametrize("side", ["right", "left"])
def test_pieces_give_what_the_whole_batch_gives_each_row_in_its_place(threads, side):
    seen = []

    def run(piece):
        seen.append(piece["input_ids"].shape)
        return model(piece)

    whole = model(texts(side))
    found = in_pieces(run, texts(side), ["states"], ThreadPoolExecutor(threads).map, threads)
    for name in ("logits", "states"):
        numpy.testing.assert_array_equal(found[name], whole[name])
    if threads == 16:  # as many pieces as rows
        assert sorted(length for _, length in seen) == (sorted(LENGTHS) if side == "right" else [9] * 7)
    else:
        assert sorted(seen) == ([(1, 1), (2, 3), (2, 5), (2, 9)] if side == "right" else [(1, 9), (2, 9), (2, 9), (2, 9)])


def test_rows_without_tokens_are_shared_out_among_the_threads():
    seen = []

    def run(piece):
        seen.append(len(piece["pixel_values"]))
        return {"logits": piece["pixel_values"].mean((1, 2))}

    images = numpy.random.default_rng(0).normal(size=(7, 4, 4)).astype("float32")
    found = in_pieces(run, {"pixel_values": images}, (), ThreadPoolExecutor(3).map, 3)
    numpy.testing.assert_array_equal(found["logits"], images.mean((1, 2)))
    assert sorted(seen) == [2, 2, 3]
