"""The sound begins earlier or later; what leaves at one end is silence at the other.

Salamon and Bello 2017, "Deep convolutional neural networks and data augmentation for environmental sound classification", who stretch;
moving is what is usual for short words (Warden 2018, "Speech commands", 100 ms of a second: a strength of 0.5).
"""

import numpy

from penjing.core.sound import Sound

KIND = Sound
KEEPS_LABEL = True
SHARE = 0.2  # of its length, at a strength of 1


def apply(value, draw, strength, another):
    samples, rate = value.decoded()
    by = round(len(samples) * SHARE * strength * draw.uniform(-1, 1))
    moved = numpy.zeros_like(samples)
    moved[max(0, by) : len(samples) + min(0, by)] = samples[max(0, -by) : len(samples) - max(0, by)]
    return Sound(moved, value.place, rate)
