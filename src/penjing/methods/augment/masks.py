"""A stretch of time and a band of frequencies grow faint.

Park, Chan, Zhang, Chiu, Zoph, Cubuk, Le 2019, "SpecAugment: a simple data augmentation method for automatic speech recognition",
section 2, on the samples in the place of the log-mel, so that models of raw samples hear it too: a band that is taken out of the spectrum
of the whole sound is a frequency mask of all its frames. Bands are drawn on the mel scale. They put the mean in the place of what is
masked; here a tenth of it is left, as silence is as far from the mean as a log-mel can be.

Letters   T samples
"""

import numpy

from penjing.core.sound import Sound

KIND = Sound
KEEPS_LABEL = True
LEFT = 0.1  # of the samples: 20 dB
SHARE = 0.5  # of the time, and of the mel scale, that a mask is wide at most, at a strength of 1


def apply(value, draw, strength, another):
    samples, rate = value.decoded()
    samples = _without_band(samples, rate, *_stretch(draw, strength))
    start, end = (round(len(samples) * place) for place in _stretch(draw, strength))
    samples[start:end] *= LEFT
    return Sound(samples, value.place, rate)


def _stretch(draw, strength):
    """Start and end, in [0, 1]."""
    width = draw.uniform(0, SHARE * strength)
    start = draw.uniform(0, 1 - width)
    return start, start + width


def _without_band(samples, rate, low, high):
    """float32 (T,) without the frequencies between two places on the mel scale, in [0, 1]."""
    spectrum = numpy.fft.rfft(samples)
    frequencies = numpy.fft.rfftfreq(len(samples), 1 / rate)
    mel = numpy.log1p(frequencies / 700) / numpy.log1p(rate / 2 / 700)  # O'Shaughnessy 1987
    spectrum[(low < mel) & (mel < high)] *= LEFT
    return numpy.fft.irfft(spectrum, len(samples)).astype(numpy.float32)
