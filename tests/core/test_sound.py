"""Sounds come out as float samples at the rate that is asked for, whatever file they came in; what is none is refused."""

import io

import numpy
import pytest
import soundfile

from penjing.core.errors import DataError
from penjing.core.sound import Sound

RATE = 16_000
TIME = numpy.arange(RATE) / RATE
SINE = (0.5 * numpy.sin(2 * numpy.pi * 440 * TIME)).astype(numpy.float32)


def encoded(samples=SINE, rate=RATE, kind="WAV", **how):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, **how)
    return file.getvalue()


@pytest.mark.parametrize("kind, close", [("WAV", 1e-4), ("FLAC", 1e-4), ("OGG", 0.05), ("MP3", 0.05)])
def test_every_format_gives_the_samples_that_were_written(kind, close):
    sound = Sound(encoded(kind=kind))
    assert sound.heading() == (RATE, pytest.approx(1.0, abs=0.05))
    samples = sound.samples(RATE)
    assert samples.dtype == numpy.float32 and abs(len(samples) - RATE) < 100
    middle = slice(4000, 12_000)  # MP3 begins and ends softly
    assert numpy.abs(samples[middle] - SINE[middle]).max() < close


def test_channels_are_averaged():
    both = numpy.stack([SINE, -SINE / 2], axis=1)
    numpy.testing.assert_allclose(Sound(encoded(both, subtype="FLOAT")).samples(RATE), SINE / 4, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
def test_a_resampled_sine_is_the_sine_at_that_rate(rate):
    samples = Sound(encoded(subtype="FLOAT")).samples(rate)
    wanted = 0.5 * numpy.sin(2 * numpy.pi * 440 * numpy.arange(rate) / rate)
    middle = slice(rate // 10, -rate // 10)
    assert len(samples) == rate
    numpy.testing.assert_allclose(samples[middle], wanted[middle], atol=1e-3)


def test_what_lies_above_the_new_rate_is_gone():
    shrill = numpy.sin(2 * numpy.pi * 6000 * TIME).astype(numpy.float32)
    assert numpy.abs(Sound(encoded(shrill)).samples(8000)[800:-800]).max() < 1e-3


def test_the_key_is_of_samples_not_of_files():
    whole = (SINE * 32767).astype(numpy.int16)
    assert Sound(encoded(whole)).key() == Sound(encoded(whole, kind="FLAC")).key()
    assert Sound(encoded(whole)).key() != Sound(encoded(whole[::-1])).key()
    assert Sound(encoded(whole)).key() != Sound(encoded(whole, rate=8000)).key()


def test_decoded_values_are_a_sound_too_and_survive_encoding():
    sound = Sound(SINE)
    assert sound.heading()[1] == 1.0 and (sound.samples(RATE) == SINE).all()
    assert (Sound(sound.bytes()).samples(RATE) == SINE).all()


DAMAGED = {
    "nothing": b"",
    "text": b"not a sound, but a text that is long enough to be one",
    "half a WAV": encoded()[: RATE // 2],
    "half a FLAC": encoded(kind="FLAC")[:5000],
    "half an MP3": encoded(kind="MP3")[:1000],
    "the head of an Ogg": encoded(kind="OGG")[:60],
    "a heading without samples": encoded(numpy.zeros(0, numpy.float32)),
    "values that are no numbers": encoded(numpy.full(100, numpy.nan, numpy.float32), subtype="FLOAT"),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_is_no_complete_sound_is_refused_with_its_place(content):
    with pytest.raises(DataError, match=r"a.csv, row 7: damaged sound(.|\n)*WAV, FLAC, Ogg, MP3(.|\n)*take out the row"):
        Sound(content, "a.csv, row 7").samples(RATE)


def test_a_sound_of_more_than_an_hour_is_refused_before_it_is_decoded(monkeypatch):
    silence = encoded(numpy.zeros(3601 * 100, numpy.int16), rate=100, kind="FLAC")
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    with pytest.raises(DataError, match=r"here: the sound is too long \(3,601 s, 1 channels\)(.|\n)*at most 3,600 s(.|\n)*cut it"):
        Sound(silence).samples(RATE)


def test_a_file_that_is_gone_is_an_error_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"a.csv, row 7: cannot read the sound(.|\n)*take out the row"):
        Sound(tmp_path / "gone.wav", "a.csv, row 7").samples(RATE)


def test_a_wav_of_a_program_that_did_not_know_its_length_is_read():
    """ffmpeg writes 0xFFFFFFFF as the length of what it pipes."""
    content = bytearray(encoded())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    numpy.testing.assert_allclose(Sound(bytes(content)).samples(RATE), SINE, atol=1e-4)
