"""The units of an input that an explanation speaks of: words of a text, patches of an image, moments and pitches of a sound.

A model sees tokens and pixels; people see words. A word is a run of letters or digits, a Chinese or Japanese character, or a single sign.

Letters   N entries of a row (windows of a long text), T tokens, U units
"""

import bisect
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import numpy

from penjing.tasks._words import cut, spaced

MOST_CELLS = {"image": (14, 14), "sound": (24, 12)}  # rows and columns of patches; cells of time and pitch


class Unit(NamedTuple):
    """A word with the column or message it is of and where it stands in it, in characters; or a cell without text.

    Of a cell `column` is the medium, `start` its row or moment and `end` its column or pitch.
    """

    text: str
    column: str
    start: int
    end: int

    @property
    def told(self) -> dict[str, Any]:
        """For programs."""
        if self.text:
            return {"text": self.text, "column": self.column, "start": self.start, "end": self.end}
        return {"moment": self.start, "pitch": self.end} if self.column == "sound" else {"row": self.start, "column": self.end}

    @property
    def name(self) -> str:
        """Its text, or where it lies."""
        return self.text or ", ".join(f"{name} {number}" for name, number in self.told.items())


def of_text(texts: dict[str, Any], ids: numpy.ndarray, tokenizer: Any) -> tuple[list[Unit], numpy.ndarray]:
    """The words of the texts of a row, by what they are called, and (N, T) the number of the word that each token belongs to; U for none.

    ids   (N, T) tokens; a token of several words counts with the first
    """
    units: list[Unit] = []
    owners = numpy.full(ids.shape, -1)
    for column, value in texts.items():
        text, words = _words(value)
        first = len(units)
        units += [Unit(word, column, start, start + len(word)) for word, start in words]
        starts = [start for _, start in words]
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False)
        pieces, offsets = found["input_ids"], found["offset_mapping"]
        for seen, owner in zip(ids, owners):
            free = numpy.where(owner < 0, seen, -1).tolist()  # what is of no other column yet
            for mine, theirs, size in SequenceMatcher(None, free, pieces, autojunk=False).get_matching_blocks():
                for i in range(size):
                    start, end = offsets[theirs + i]
                    word = _word_at(text, start, end, starts)
                    owner[mine + i] = -1 if word is None else first + word
    return units, numpy.where(owners < 0, len(units), owners)


def _word_at(text: str, start: int, end: int, starts: list[int]) -> int | None:
    """The word that a piece of a text is of, or begins with; a space is of the word behind it; None where there is none."""
    spaces = len(text[start:end]) - len(text[start:end].lstrip())
    place = bisect.bisect_right(starts, start + spaces) - 1 if start + spaces < end else bisect.bisect_left(starts, end)
    return place if 0 <= place < len(starts) else None


def _words(value: Any) -> tuple[str, list[tuple[str, int]]]:
    """A text of a column, or words that stand there one by one, with where each word begins."""
    if isinstance(value, str):
        return value, cut(value)
    pieces, words, end = spaced(value), [], 0
    for piece in pieces:
        bare = piece.lstrip()
        words.append((bare, end + len(piece) - len(bare)))
        end += len(piece)
    return "".join(pieces), words


def of_grid(media: str, shape: tuple[int, ...], side: int | None = None) -> tuple[list[Unit], numpy.ndarray]:
    """Cells of an image (K, H, W), a log-mel (F, M), or the samples (T,) of a sound; and for each number the cell it lies in.

    side   of a patch, where the model cuts an image into patches itself
    """
    height, width = shape[-2:] if len(shape) > 1 else (shape[0], 1)
    rows, columns = MOST_CELLS[media]
    tall, wide = (side, side) if side else (-(-height // rows), -(-width // columns))
    down, across = numpy.arange(height) // tall, numpy.arange(width) // wide
    cells = down[:, None] * (across[-1] + 1) + across
    units = [Unit("", media, row, column) for row in range(down[-1] + 1) for column in range(across[-1] + 1)]
    return units, numpy.broadcast_to(cells.reshape(shape[-2:] if len(shape) > 1 else shape), shape)
