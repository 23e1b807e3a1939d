"""The image is moved a little: cut out of itself, mirrored beyond its edges.

He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2, whose 4 pixels on 32 are a strength of 0.5; they pad
with zeros, which leaves edges that are in no photograph.
"""

import numpy

from penjing.core.image import Image

KIND = Image
SHARE = 0.25  # of a side, at a strength of 1


def apply(value, draw, strength, another):
    pixels = numpy.asarray(value.image())  # (H, W) or (H, W, 3)
    most = [round(SHARE * strength * side) for side in pixels.shape[:2]]
    top, left = (int(draw.integers(2 * by + 1)) for by in most)
    wider = numpy.pad(pixels, [(by, by) for by in most] + [(0, 0)] * (pixels.ndim - 2), mode="symmetric")
    return Image(numpy.ascontiguousarray(wider[top : top + pixels.shape[0], left : left + pixels.shape[1]]), value.place)
