"""A sound that is decoded when asked for.

Letters   T samples
"""

import builtins
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy
import soundfile
import soxr

from penjing.core.errors import DataError
from penjing.core.media import Media

MOST_SECONDS = 3600
MOST_VALUES = MOST_SECONDS * 48_000 * 2  # of all channels together: an hour of stereo as studios record it
RATES = (100, 768_000)  # Hz, lowest and highest that is recorded; any other in a heading is damage
RATE_OF_VALUES = 16_000  # Hz, of sounds that are given as decoded values
_BLOCK_FRAMES = 1 << 20
_UNKNOWN_BYTES = 0x7FFFF000  # what programs write that do not know yet how long a WAV will be
_WANTED = "a complete sound that libsndfile reads: WAV, FLAC, Ogg, MP3"


@dataclass(frozen=True, eq=False)
class Sound(Media):
    """One sound, not decoded yet; decoded values are float32 (T,) in [-1, 1].

    values_rate   samples a second of decoded values
    """

    article, noun, column = "a", "sound", "audio"
    suffixes = (".wav", ".flac", ".ogg", ".mp3")

    values_rate: int = RATE_OF_VALUES

    def samples(self, rate: int) -> numpy.ndarray:
        """float32 (T,) at `rate` Hz: channels are averaged, another rate is converted.

        Raises DataError for what is no sound, damaged, cut short, empty, or longer than an hour.
        """
        samples, found = self.decoded()
        return samples if found == rate else soxr.resample(samples, found, rate)

    def decoded(self) -> tuple[numpy.ndarray, int]:
        """float32 (T,) as they were recorded, channels averaged, and how many of them a second has.

        Raises DataError as `samples` does.
        """
        if isinstance(self.source, numpy.ndarray):
            return self.source.astype(numpy.float32), self.values_rate
        content = self.bytes()
        with self._opened(content) as file:
            self._check_length(file)
            samples, rate = numpy.concatenate([block.mean(1) for block in _blocks(file)]), file.samplerate
            missing = max(file.frames - len(samples), _missing_bytes(file.extra_info)) / rate
        if not len(samples):
            raise self.damaged(content, "no samples", _WANTED)
        if missing > 0.1:  # the frames of an MP3 without an index are an estimate
            raise self.damaged(content, "cut short", _WANTED)
        if not numpy.isfinite(samples).all():
            raise self.damaged(content, "it holds values that are no numbers", _WANTED)
        return samples, rate

    def heading(self) -> tuple[int, float]:
        """Samples a second and how many seconds it lasts, as its file says before it is decoded."""
        if isinstance(self.source, numpy.ndarray):
            return self.values_rate, len(self.source) / self.values_rate
        content = self.bytes()
        with self._opened(content) as file:
            return file.samplerate, file.frames / file.samplerate

    def held(self) -> "Sound":
        samples, rate = self.decoded()
        return Sound(samples, self.place, rate)

    def encode(self, values: numpy.ndarray) -> builtins.bytes:
        file = io.BytesIO()
        soundfile.write(file, values, self.values_rate, format="WAV", subtype="FLOAT")
        return file.getvalue()

    def key(self) -> builtins.bytes:
        samples, rate = self.decoded()
        return f"{rate} {len(samples)} ".encode() + samples.tobytes()

    @contextmanager
    def _opened(self, content: builtins.bytes) -> Iterator[soundfile.SoundFile]:
        try:
            with soundfile.SoundFile(io.BytesIO(content)) as file:
                yield file
        except soundfile.LibsndfileError as error:
            raise self.damaged(content, error.error_string.strip(" ."), _WANTED) from None

    def _check_length(self, file: soundfile.SoundFile) -> None:
        """By the heading, before anything is decoded."""
        if not RATES[0] <= file.samplerate <= RATES[1]:
            raise DataError(
                f"{self.place}: the sound has {file.samplerate:,} samples a second",
                wanted=f"{RATES[0]:,} to {RATES[1]:,} Hz",
                fix=f"correct the rate in its heading, replace the {self.noun} or take out the row",
            )
        if file.frames > MOST_SECONDS * file.samplerate or file.frames * file.channels > MOST_VALUES:
            raise DataError(
                f"{self.place}: the sound is too long ({file.frames / file.samplerate:,.0f} s, {file.channels} channels)",
                wanted=f"at most {MOST_SECONDS:,} s",
                fix="cut it into pieces first",
            )


def _blocks(file: soundfile.SoundFile) -> Iterator[numpy.ndarray]:
    """(frames, channels) float32, the last of no frames; `SoundFile.blocks` fills up with noise where a file ends too early."""
    block = numpy.zeros((1, 1))
    while len(block):
        yield (block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True))


def _missing_bytes(log: str) -> int:
    """Bytes that a WAV announces and lacks, as libsndfile notes it when it opens one."""
    said = re.search(r"^data : (\d+) \(should be (\d+)\)", log, re.MULTILINE)
    announced, there = map(int, said.groups()) if said else (0, 0)
    return max(0, announced - there) if announced < _UNKNOWN_BYTES else 0
