"""Words are dropped or change places with the next one; in scripts without spaces, characters.

Wei and Zou 2019, "EDA: easy data augmentation techniques for boosting performance on text classification tasks": random deletion and
random swap, with one word in ten at a strength of 0.5 as theirs; neighbours only, so that a sentence keeps its parts.
"""

from penjing.methods.augment._pieces import pieces_of, words_in

KIND = str
KEEPS_LABEL = True
SHARE = 0.2  # of the words, at a strength of 1


def apply(value, draw, strength, another):
    pieces = pieces_of(value)
    words = words_in(pieces)
    chances, swaps = draw.random(len(words)), draw.random(len(words)) < 0.5
    left = len(words)
    for place, i in enumerate(words):
        if chances[place] >= SHARE * strength:
            continue
        if swaps[place] and place + 1 < len(words):
            following = words[place + 1]
            pieces[i], pieces[following] = pieces[following], pieces[i]
        elif left > 1:
            pieces[i], left = "", left - 1
    return "".join(pieces)
