"""Sounds of any rate and length become what a model hears: the log-mel of a new model, or what a pretrained one was made for."""

import numpy
import pytest
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoFeatureExtractor,
    HubertConfig,
    HubertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

from penjing.core.collate import ROW
from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.core.sound import Sound
from penjing.engine import create, load
from penjing.engine.batches import Encoded
from penjing.tasks.audio_classification import FEWEST_SAMPLES, MEL_BINS, AudioClassification

LABELS = ["high", "low"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "num_labels": 2}
WAVES = {**SMALL, "conv_dim": (8, 8), "conv_stride": (5, 64), "conv_kernel": (10, 64), "num_feat_extract_layers": 2,
         "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0}  # fmt: skip
ENCODER = {
    "d_model": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "max_source_positions": 50,
    "num_labels": 2,
}
CHECKPOINTS = {
    "ast": lambda: (
        ASTForAudioClassification(ASTConfig(**SMALL, num_mel_bins=128, max_length=64, patch_size=16)),
        ASTFeatureExtractor(max_length=64),
    ),
    "wav2vec2": lambda: (Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**WAVES)), Wav2Vec2FeatureExtractor()),
    "hubert": lambda: (HubertForSequenceClassification(HubertConfig(**WAVES)), Wav2Vec2FeatureExtractor(return_attention_mask=True)),
    "whisper": lambda: (WhisperForAudioClassification(WhisperConfig(**ENCODER)), WhisperFeatureExtractor(chunk_length=1)),
}


def tone(hertz, seconds=0.5, label="high"):
    """A sine at 16 kHz."""
    time = numpy.arange(int(16_000 * seconds)) / 16_000
    return {"audio": Sound(numpy.sin(2 * numpy.pi * hertz * time).astype(numpy.float32), f"{hertz} Hz"), "label": label}


def batch(task, examples, processor):
    return task.collate([{**task.encode(example, processor), ROW: i} for i, example in enumerate(examples)], processor)


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request, tmp_path):
    torch.manual_seed(0)
    with load.quiet_transformers():
        model, extractor = CHECKPOINTS[request.param]()
        model.config.id2label = dict(enumerate(LABELS))
        model.save_pretrained(tmp_path)
        extractor.save_pretrained(tmp_path)
    return tmp_path


def test_checkpoints_of_transformers_hear_sounds_of_any_length(checkpoint):
    """One sample, half a second and two seconds, in a batch; the answers are those of the same model given the same sounds by hand."""
    loaded = load.load(ModelDir.open(checkpoint), AudioClassification(LABELS), Runtime())
    examples = [tone(440, 0.5), tone(220, 2.0, "low"), tone(330, 1 / 16_000)]
    made = batch(loaded.task, examples, loaded.processor)
    logits = loaded.model.eval()(**made.inputs).logits
    assert logits.shape == (3, 2) and logits.isfinite().all()
    with load.quiet_transformers():
        heard = AutoFeatureExtractor.from_pretrained(checkpoint)(
            examples[1]["audio"].source,
            sampling_rate=16_000,
            return_tensors="pt",
            padding="max_length" if "Whisper" in str(loaded.processor) else True,
        )
    torch.testing.assert_close(logits[1:2], loaded.model(**heard).logits, atol=1e-5, rtol=1e-4)


def test_a_new_model_learns_rate_window_mean_and_deviation_from_the_data():
    """Of 110 half seconds and one of 9 s the window holds the half seconds; what passes the processor has mean 0 and deviation 1/2."""
    draw = numpy.random.default_rng(0)
    sounds = [Sound(draw.standard_normal(8000).astype(numpy.float32)) for _ in range(110)]
    sounds.append(Sound(draw.standard_normal(16_000 * 9).astype(numpy.float32)))
    rows = [{"audio": sound, "label": LABELS[i % 2]} for i, sound in enumerate(sounds)]
    loaded = create.create("cnn-tiny", AudioClassification(LABELS), rows, Runtime())
    assert loaded.processor.sampling_rate == 16_000
    assert (loaded.processor.max_length, loaded.processor.num_mel_bins) == (1 + (8000 - 400) // 160, MEL_BINS)
    values = batch(loaded.task, rows, loaded.processor).inputs["input_values"]
    assert values.mean().abs() < 0.01 and abs(values.std() - 0.5) < 0.01


def test_a_student_takes_the_window_of_a_teacher_and_refuses_one_that_hears_otherwise():
    task, rows = AudioClassification(LABELS), [tone(440), tone(220, label="low")]
    with load.quiet_transformers():
        teacher = ASTFeatureExtractor(max_length=70, num_mel_bins=32)
    loaded = create.create("cnn-tiny", task, rows, Runtime(), teacher)
    assert loaded.model(**batch(task, rows, teacher).inputs).logits.shape == (2, 2)
    with pytest.raises(ModelError, match=r"new:cnn-tiny reads a log-mel(.|\n)*Wav2Vec2FeatureExtractor(.|\n)*labels alone"):
        create.create("cnn-tiny", task, rows, Runtime(), Wav2Vec2FeatureExtractor())


def test_the_baseline_tells_high_tones_from_low():
    draw = numpy.random.default_rng(0)
    rows = [tone(hertz, 0.2, LABELS[int(hertz < 800)]) for hertz in draw.integers(300, 1300, 60)]
    fitted = AudioClassification(LABELS).baseline(60).fit(rows, [row["label"] for row in rows])
    assert fitted.predict([tone(350, 0.3), tone(1200, 0.2)]).tolist() == ["low", "high"]


def test_a_sound_is_shown_as_its_log_mel_low_notes_at_the_bottom():
    import base64
    import io

    import PIL.Image

    def brightest(hertz):
        shown = AudioClassification(LABELS).show(tone(hertz))["image"]
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(shown.split(",")[1])))
        pixels = numpy.asarray(picture)
        return pixels.mean(1).argmax() / len(pixels)

    assert brightest(200) > 0.7 and brightest(6000) < 0.3


def test_a_sound_too_short_for_a_frame_is_followed_by_silence():
    loaded = create.create("cnn-tiny", AudioClassification(LABELS), [tone(440)], Runtime())
    padded = numpy.zeros(FEWEST_SAMPLES, numpy.float32)
    padded[0] = 0.5
    short, long = ({"audio": Sound(values)} for values in (padded[:1], padded))
    torch.testing.assert_close(loaded.task.encode(short, loaded.processor), loaded.task.encode(long, loaded.processor))


def test_sounds_longer_than_the_window_are_counted(checkpoint):
    """Of 64 frames, of 1 s, and of 30 s of raw samples, as the kind of model has it."""
    loaded = load.load(ModelDir.open(checkpoint), AudioClassification(LABELS), Runtime())
    found = Encoded([tone(440, 0.3), tone(440, 31), tone(440, 0.4)], loaded.task, loaded.processor)
    assert found.at_limit == 1
