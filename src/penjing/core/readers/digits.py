"""The 1,797 handwritten digits that scikit-learn carries: something to try with no file at hand and no network."""

import functools
import hashlib
from pathlib import Path

import numpy
import PIL.Image
import pyarrow

from penjing.core.arrow_cache import ROW, Stored
from penjing.core.image import png
from penjing.core.media import in_cell
from penjing.core.readers.part import Part

NAME = "sklearn:digits"
LICENCE = "CC BY 4.0 (UCI, Optical Recognition of Handwritten Digits; Alpaydin and Kaynak 1998)"


def part() -> Part:
    """Columns image (8 x 8 grey, scaled from 0..16 to 0..255) and label ("0" to "9")."""
    from sklearn.datasets import load_digits  # 2 s to import

    digits = load_digits()
    pixels = numpy.round(digits.images * (255 / 16)).astype(numpy.uint8)
    columns = {
        "image": pyarrow.array([png(PIL.Image.fromarray(image)) for image in pixels]),
        "label": pyarrow.array(digits.target.astype(str).tolist()),
        ROW: pyarrow.array(numpy.arange(1, len(pixels) + 1)),
    }
    content = hashlib.sha256(pixels.tobytes() + bytes(digits.target.tolist()))
    return Part(NAME, None, Stored(pyarrow.table(columns), content.hexdigest()), _place, functools.partial(in_cell, Path()))


def _place(row: int) -> str:
    return f"{NAME}, row {row + 1}"
