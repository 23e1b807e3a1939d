"""Another image of the training rows shines through.

Zhang, Cisse, Dauphin, Lopez-Paz 2018, "mixup: beyond empirical risk minimization": their alpha is the strength. They mix two labels as
they mix two images, with a share from Beta(alpha, alpha). As the loss is linear in the label, the same is learnt on average where the image
keeps its own label and its share comes from Beta(alpha + 1, alpha) (Huszár 2017, "mixup: data-dependent data augmentation"). So no row
of a batch needs another of that batch, and accumulation and ranks change nothing.
"""

import numpy
import PIL.Image

from penjing.core.image import Image

KIND = Image
KEEPS_LABEL = True


def apply(value, draw, strength, another):
    if not strength:
        return value
    image, other = value.image(), another().image()
    share = draw.beta(strength + 1, strength)  # of the image itself, in [0, 1]
    return Image(numpy.asarray(PIL.Image.blend(other.convert(image.mode).resize(image.size), image, share)), value.place)
