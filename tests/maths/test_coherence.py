"""What goes together: closed forms at the ends and at chance, and the definition written out."""

import itertools
import math

import numpy
import pytest

from penjing.maths.coherence import npmi


def shares(texts):
    """(W, W) of texts that hold each two words, from 0s and 1s (n, W)."""
    return texts.T @ texts / len(texts)


def test_words_that_are_never_apart_have_one_that_never_meet_minus_one_and_that_meet_by_chance_zero():
    both, chance = numpy.array([[1, 1], [1, 1], [0, 0], [0, 0]]), numpy.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    never = numpy.array([[1, 0], [0, 1], [0, 0]])
    assert [npmi(shares(texts))[0, 1] for texts in (both, never, chance)] == pytest.approx([1.0, -1.0, 0.0])


def test_words_of_every_text_and_of_none_have_a_number_too():
    found = npmi(shares(numpy.array([[1, 1, 0], [1, 1, 0]])))
    assert found[0, 1] == 1.0 and found[0, 2] == found[2, 2] == -1.0


def test_it_is_the_definition_word_by_word():
    texts = (numpy.random.default_rng(0).random((200, 6)) < 0.4).astype(int)
    found = npmi(shares(texts))
    for a, b in itertools.combinations(range(6), 2):
        alone, other, joint = texts[:, a].mean(), texts[:, b].mean(), (texts[:, a] & texts[:, b]).mean()
        assert found[a, b] == pytest.approx(math.log2(joint / (alone * other)) / -math.log2(joint))
