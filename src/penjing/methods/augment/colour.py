"""Brightness, contrast and saturation change, each by a factor of its own.

Howard 2013, "Some improvements on deep convolutional neural network based image classification", section 2; a strength of 0.5 is the 0.4
that is usual for them.
"""

import numpy
from PIL import ImageEnhance

from penjing.core.image import Image

KIND = Image
KEEPS_LABEL = True
MOST = 0.8  # that a factor is away from 1, at a strength of 1


def apply(value, draw, strength, another):
    image = value.image()
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(1 + MOST * strength * draw.uniform(-1, 1))
    return Image(numpy.asarray(image), value.place)
