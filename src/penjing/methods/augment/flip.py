"""Half of the images are mirrored, left for right. Not for letters, digits, or signs that point somewhere.

Krizhevsky, Sutskever, Hinton 2012, "ImageNet classification with deep convolutional neural networks", section 4.1.
"""

import numpy

from penjing.core.image import Image

KIND = Image
KEEPS_LABEL = True


def apply(value, draw, strength, another):
    if draw.random() >= min(strength, 0.5):
        return value
    return Image(numpy.ascontiguousarray(value.pixels()[:, ::-1]), value.place)
