"""Noise of all frequencies lies under the sound, more or less of it, and the sound is louder or softer.

Ko, Peddinti, Povey, Khudanpur 2015, "Audio augmentation for speech recognition", for the volume; 20 dB below the sound, the most
noise at a strength of 0.5, is the loudest of Hannun et al. 2014, "Deep Speech".
"""

import numpy

from penjing.core.sound import Sound

KIND = Sound
KEEPS_LABEL = True
NOISE = 0.2  # of the root mean square of the samples: the most noise, at a strength of 1
DECIBELS = 12  # louder or softer, at a strength of 1


def apply(value, draw, strength, another):
    samples, rate = value.decoded()
    loudness = numpy.sqrt(numpy.mean(samples**2, dtype=numpy.float64))
    noise = draw.standard_normal(len(samples), numpy.float32) * numpy.float32(draw.uniform(0, NOISE * strength) * loudness)
    gain = 10 ** (DECIBELS * strength * draw.uniform(-1, 1) / 20)
    return Sound((samples + noise) * numpy.float32(gain), value.place, rate)
