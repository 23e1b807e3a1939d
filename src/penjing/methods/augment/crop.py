"""The image is moved a little: cut out of itself, mirrored beyond its edges.

He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2, whose 4 pixels on 32 are a strength of 0.5; they pad
with zeros, which leaves edges that are in no photograph.
"""

import numpy

from penjing.core.image import Image

KIND = Image
KEEPS_LABEL = True
SHARE = 0.25  # of a side, at a strength of 1


def apply(value, draw, strength, another):
    pixels = value.pixels()  # (H, W) or (H, W, 3)
    for axis, side in enumerate(pixels.shape[:2]):
        most = round(SHARE * strength * side)
        pixels = pixels.take(_mirrored(side, int(draw.integers(-most, most + 1))), axis)
    return Image(pixels, value.place)


def _mirrored(side, by):
    """(side,) which pixel of a side comes to each place when it is moved by so many, at most all."""
    places = numpy.arange(side) + by
    return numpy.where(places < 0, ~places, numpy.minimum(places, 2 * side - 1 - places))
