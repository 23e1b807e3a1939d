"""What each augmentation does, against numbers that are known without it."""

import itertools

import numpy
import pytest
from scipy import stats

from penjing.core.find import find
from penjing.core.image import Image
from penjing.core.sound import Sound


def apply(name, value, strength, draw, another=None):
    return find("methods.augment", name).apply(value, draw, strength, another)


def rng(key=0):
    return numpy.random.default_rng(key)


def test_word_noise_touches_a_tenth_of_the_words_and_only_drops_or_swaps_neighbours():
    words = [f"w{i}" for i in range(10_000)]
    left = apply("word-noise", " ".join(words), 0.5, rng()).split()
    assert len(words) - len(left) == pytest.approx(500, rel=0.15)  # half of a tenth is dropped
    assert set(left) <= set(words) and len(set(left)) == len(left)
    moved = [abs(int(word[1:]) - place) for place, word in enumerate(left)]
    assert max(moved) < 600  # no further than the drops before it, and a step or two
    out_of_order = sum(int(a[1:]) > int(b[1:]) for a, b in itertools.pairwise(left))
    assert out_of_order == pytest.approx(500, rel=0.2)


def test_word_noise_of_a_script_without_spaces_moves_characters():
    text = "房间很干净服务也热情早餐一般" * 50
    found = apply("word-noise", text, 0.5, rng())
    assert set(found) == set(text) and 0.9 < len(found) / len(text) < 0.99


def test_excerpts_are_a_row_of_words_of_the_text_and_one_of_another_as_many_as_the_text_has():
    words, others = [f"w{i}" for i in range(8)], [f"o{i}" for i in range(20)]
    own, first = [], []
    for key in range(800):
        found = apply("excerpts", " ".join(words), 0.5, rng(key), lambda: " ".join(others)).split()
        mine, theirs = ([word for word in found if word[0] == letter] for letter in "wo")
        assert len(found) == 8 and found in (mine + theirs, theirs + mine)
        for part, whole in ((mine, words), (theirs, others)):
            assert not part or part == whole[whole.index(part[0]) : whole.index(part[0]) + len(part)]
        own.append(len(mine))
        first += [found[0] == mine[0]] if theirs else []
    assert stats.chisquare(numpy.bincount(own, minlength=9)[1:]).pvalue > 1e-3
    assert stats.binomtest(sum(first), len(first)).pvalue > 1e-3


def test_excerpts_of_a_script_without_spaces_are_characters_and_stand_without_a_space():
    text, other = "房间很干净服务也热情", "早餐一般"
    for key in range(60):
        found = apply("excerpts", text, 0.5, rng(key), lambda: other)
        mine = "".join(c for c in found if c in text)
        assert " " not in found and mine in text and found.replace(mine, "") in other and 5 <= len(found) <= len(text)
    assert " " in apply("excerpts", text, 0.5, rng(1), lambda: "fine food here")


def test_excerpts_leave_a_word_alone_and_take_all_of_a_shorter_text():
    assert apply("excerpts", "fine", 1.0, rng(), None) == "fine"
    found = {apply("excerpts", "a b c d e", 1.0, rng(key), lambda: "z") for key in range(40)}
    assert all("z" in each or each == "a b c d e" for each in found)


def test_typos_touch_two_letters_of_a_hundred_and_no_digits():
    text = "abcdefgh 12345678 " * 2000
    found = apply("typos", text, 0.5, rng())
    assert "".join(c for c in found if not c.isalpha()) == "".join(c for c in text if not c.isalpha())
    drops_less_doubles = len(text) - len(found)
    assert abs(drops_less_doubles) < 60  # as many are dropped as doubled: 107 of each, standard deviation of the difference 15
    changed = sum(a != "abcdefgh" for a in found.split()[::2])
    assert changed == pytest.approx(2000 * (1 - 0.98**8), rel=0.15)


def test_a_crop_is_a_window_of_the_image_mirrored_at_its_edges():
    pixels = numpy.arange(32 * 32, dtype=numpy.uint16).reshape(32, 32).astype(numpy.uint8)
    places = set()
    wide = numpy.pad(pixels, 4, mode="symmetric")
    windows = {wide[y : y + 32, x : x + 32].tobytes(): (y, x) for y in range(9) for x in range(9)}
    for key in range(400):
        places.add(windows[numpy.asarray(apply("crop", Image(pixels), 0.5, rng(key)).image()).tobytes()])
    assert {y for y, _ in places} == {x for _, x in places} == set(range(9))


def test_half_of_the_images_are_mirrored():
    pixels = rng().integers(0, 255, (4, 6, 3), dtype=numpy.uint8)
    found = [numpy.asarray(apply("flip", Image(pixels), 0.5, rng(key)).image()) for key in range(400)]
    mirrored = sum(numpy.array_equal(each, pixels[:, ::-1]) for each in found)
    assert mirrored + sum(numpy.array_equal(each, pixels) for each in found) == 400
    assert stats.binomtest(mirrored, 400).pvalue > 1e-3


def test_colour_of_a_grey_image_only_changes_its_brightness():
    """One value everywhere has no contrast and no saturation: it is multiplied by 1 - 0.4 to 1 + 0.4."""
    values = [
        int(numpy.asarray(apply("colour", Image(numpy.full((4, 4), 100, numpy.uint8)), 0.5, rng(key)).image())[0, 0]) for key in range(300)
    ]
    assert 60 <= min(values) < 66 and 134 < max(values) <= 140


def test_mixup_keeps_the_share_of_the_image_that_its_beta_says():
    """White and black: the grey is the share, and shares come from Beta(alpha + 1, alpha)."""
    white, black = (Image(numpy.full((2, 2), value, numpy.uint8)) for value in (255, 0))
    shares = [numpy.asarray(apply("mixup", white, 0.5, rng(key), lambda: black).image())[0, 0] / 255 for key in range(500)]
    assert stats.kstest(shares, stats.beta(1.5, 0.5).cdf).pvalue > 1e-3
    assert numpy.mean(shares) == pytest.approx(1.5 / 2, abs=0.03)


def test_mixup_fits_the_other_image_to_this_one():
    found = apply("mixup", Image(numpy.zeros((5, 7), numpy.uint8)), 0.5, rng(), lambda: Image(numpy.full((9, 3, 3), 255, numpy.uint8)))
    assert numpy.asarray(found.image()).shape == (5, 7)


def test_masks_leave_a_tenth_of_one_stretch_and_of_one_band_of_frequencies():
    """White noise is as loud at all times and at all frequencies: what is 20 dB fainter is masked."""
    noise = rng(1).standard_normal(80_000).astype(numpy.float32)
    stretches, bands = [], []
    for key in range(60):
        found, rate = apply("masks", Sound(noise, "here", 8000), 1.0, rng(key)).decoded()
        loudness = found.reshape(-1, 400).std(1)
        faint = numpy.flatnonzero(loudness < 0.2 * loudness.max())
        assert rate == 8000 and (len(faint) == 0 or faint[-1] - faint[0] == len(faint) - 1), "one stretch"
        assert len(faint) < 3 or loudness[faint[1:-1]].mean() == pytest.approx(0.1 * numpy.median(numpy.delete(loudness, faint)), rel=0.1)
        stretches.append(len(faint) / len(loudness))
        first, last = faint[[0, -1]] if len(faint) else (100, 99)
        heard = max(found[: 400 * max(0, first - 1)], found[400 * (last + 2) :], key=len)
        power = numpy.convolve(numpy.abs(numpy.fft.rfft(heard * numpy.hanning(len(heard)))) ** 2, numpy.ones(99) / 99, "same")
        bands.append((power < 0.1 * numpy.median(power)).mean())
    assert max(stretches) < 0.5 and numpy.mean(stretches) == pytest.approx(0.25, abs=0.06)
    assert 0.05 < numpy.mean(bands) < 0.4 and max(bands) < 0.8


def test_a_shifted_sound_is_the_sound_and_silence():
    samples = rng().standard_normal(1000).astype(numpy.float32)
    steps = set()
    for key in range(200):
        found, _ = apply("time-shift", Sound(samples), 0.5, rng(key)).decoded()
        by = int(numpy.argmax(numpy.correlate(found, samples, "full"))) - 999
        wanted = numpy.zeros_like(samples)
        wanted[max(0, by) : 1000 + min(0, by)] = samples[max(0, -by) : 1000 - max(0, by)]
        assert numpy.array_equal(found, wanted)
        steps.add(by)
    assert min(steps) < -90 and max(steps) > 90 and max(map(abs, steps)) <= 100


def test_white_noise_stays_20_decibels_below_the_sound_which_is_up_to_6_louder_or_softer():
    time = numpy.arange(8000) / 8000
    tone = numpy.sin(2 * numpy.pi * 440 * time).astype(numpy.float32)
    below, gains = [], []
    for key in range(200):
        found, _ = apply("white-noise", Sound(tone, "here", 8000), 0.5, rng(key)).decoded()
        gain = float(found @ tone / (tone @ tone))
        below.append(20 * numpy.log10(numpy.std(found / gain - tone) / numpy.std(tone)))
        gains.append(20 * numpy.log10(gain))
    assert -20.3 < max(below) < -19.5
    assert max(numpy.abs(gains)) < 6.1 and min(gains) < -5 and max(gains) > 5
