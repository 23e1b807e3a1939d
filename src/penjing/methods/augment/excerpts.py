"""A text becomes an excerpt of itself, which only a teacher can label: some of its words in a row, as many as the draw says.

Tang, Lu, Liu, Mou, Vechtomova, Lin 2019, "Distilling task-specific knowledge from BERT into simple neural networks", section 3.3: n-gram
sampling, there of one to five words, here of any number up to all. In scripts without spaces characters count as words.
"""

from penjing.methods.augment._pieces import pieces_of, words_in

KIND = str
KEEPS_LABEL = False


def apply(value, draw, strength, another):
    pieces = pieces_of(value)
    words = words_in(pieces)
    if not strength or len(words) < 2:
        return value
    number = int(draw.integers(1, len(words)))
    first = int(draw.integers(len(words) - number + 1))
    return "".join(pieces[words[first] : words[first + number - 1] + 1])
