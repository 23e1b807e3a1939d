"""One label for each sound: spoken words, speakers, noises of the surroundings.

Data     columns `audio`, `label`, or a folder a label     Metric   accuracy (primary), macro_f1
Explain  logit of the predicted label, per frame           Letters  B rows, T frames or samples, F mel bins, C labels
"""

import numpy
from transformers import ASTFeatureExtractor, AutoFeatureExtractor, AutoModelForAudioClassification, WhisperFeatureExtractor

from penjing.core.collate import pad_with_zeros
from penjing.core.image import Image
from penjing.core.sound import Sound
from penjing.tasks import OneAnswer

MOST_RATE = 16_000  # Hz; what hearing models are trained on
MEL_BINS = 64  # of them every one covers a frequency of the transform at 8 and at 16 kHz; 128 do not
FRAME, HOP = 400, 160  # samples of a frame of ASTFeatureExtractor, and between two
MOST_FRAMES = 1024  # the window of the Audio Spectrogram Transformer, 10 s at 16 kHz
FEWEST_SAMPLES = 400  # one frame, and what the convolutions of wav2vec2 need for one output
MOST_SECONDS = 30  # of raw samples, for models that state no window; that of Whisper
SAMPLES_OF_A_TOKEN = 320  # what the convolutions of wav2vec2 make one of
SVC_MOST_ROWS = 10_000  # the kernel matrix of a support vector machine grows with the square of the rows


class AudioClassification(OneAnswer):
    auto_model, auto_processor, media = AutoModelForAudioClassification, AutoFeatureExtractor, "sound"
    columns = {"audio": Sound, "label": str}

    def encode(self, example, processor):
        rate = processor.sampling_rate
        samples = _at_least(example["audio"].samples(rate)[: MOST_SECONDS * rate])
        entry = {name: values[0] for name, values in processor(samples, sampling_rate=rate, return_tensors="pt").items()}
        return {**entry, **self.numbered(example)}

    def collate(self, encoded, processor):
        return pad_with_zeros(encoded, targets=("label",))  # inputs (B, T, F) of a log-mel, (B, T) of raw samples; label (B,)

    def length(self, encoded):
        """Tokens: the frames of a log-mel, or what an encoder makes of raw samples."""
        values = next(iter(encoded.values()))
        return len(values) // SAMPLES_OF_A_TOKEN if values.ndim == 1 else max(values.shape)

    def fills_window(self, encoded, processor):
        """A log-mel that was padded ends in a frame of one value."""
        values = next(iter(encoded.values()))
        if values.ndim == 1:
            return len(values) == MOST_SECONDS * processor.sampling_rate
        last = {ASTFeatureExtractor: values[-1], WhisperFeatureExtractor: values[:, -1]}.get(type(processor))
        return last is not None and bool((last != last[0]).any())

    def facts(self, examples):
        """Rate and window of up to 1,000 sounds, mean and deviation of the log-mel of 100, evenly drawn; it is an image of one channel.

        The window holds 99 of 100 sounds, and 1,024 frames at most; what is longer is cut.
        """
        sounds = [examples[i]["audio"] for i in numpy.linspace(0, len(examples) - 1, min(len(examples), 1000)).astype(int)]
        heard = sounds[:: max(1, len(sounds) // 100)]
        rates, seconds = zip(*(sound.heading() for sound in sounds))
        rate = min(MOST_RATE, int(numpy.median(rates)))
        frames = min(MOST_FRAMES, _frames(round(float(numpy.quantile(seconds, 0.99)) * rate)))
        values = [_log_mel(sound, rate, frames) for sound in heard]
        mean = float(numpy.mean([v.mean() for v in values]))
        square = float(numpy.mean([((v - mean) ** 2).mean() for v in values]))
        return {"sampling_rate": rate, "image_size": (frames, MEL_BINS), "channels": 1, "mean": mean, "std": max(square, 1e-4) ** 0.5}

    def baseline(self, rows):
        from sklearn.preprocessing import FunctionTransformer, StandardScaler
        from sklearn.svm import SVC, LinearSVC

        return self.simplest(FunctionTransformer(_means), StandardScaler(), SVC() if rows <= SVC_MOST_ROWS else LinearSVC())

    def show(self, example):
        """Its log-mel, low notes at the bottom, time to the right."""
        values = _log_mel(example["audio"], MOST_RATE, MOST_FRAMES)
        low, high = numpy.quantile(values, (0.05, 1))
        grey = numpy.clip(255 * (values - low) / max(high - low, 1e-6), 0, 255).astype(numpy.uint8)
        return {"image": Image(numpy.ascontiguousarray(grey.T[::-1])).thumbnail_data_uri(96)}


def _at_least(samples):
    """The samples, and silence where they are too few for one frame."""
    return numpy.pad(samples, (0, max(0, FEWEST_SAMPLES - len(samples))))


def _frames(num_samples):
    return 1 + max(0, num_samples - FRAME) // HOP


def _log_mel(sound, rate, most_frames):
    """(T, F) natural logarithm of mel energies, without padding."""
    samples = _at_least(sound.samples(rate))
    frames = min(most_frames, _frames(len(samples)))
    extractor = ASTFeatureExtractor(sampling_rate=rate, num_mel_bins=MEL_BINS, max_length=frames, do_normalize=False)
    return extractor(samples, sampling_rate=rate)["input_values"][0]


def _means(examples):
    """(B, 2 F): mean and deviation over time of each mel bin."""
    mels = (_log_mel(example["audio"], MOST_RATE, MOST_FRAMES) for example in examples)
    return numpy.stack([numpy.concatenate([mel.mean(0), mel.std(0)]) for mel in mels])


TASK = AudioClassification
