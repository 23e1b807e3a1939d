"""The law of every augmentation found in the folder: a function of its key, of the same type and about the same length, never empty."""

import pickle

import numpy
import pytest

from penjing.core.examples import read
from penjing.core.find import find, names
from penjing.core.image import Image
from penjing.core.sound import Sound
from penjing.core.training import Training
from penjing.engine.augment import augmented
from penjing.methods.augment._pieces import pieces_of, words_in
from tests.contract.test_tasks import rows

NAMES = names("methods.augment")
TASKS = {str: "text-classification", Image: "image-classification", Sound: "audio-classification"}
TEXTS = [
    "a film that is warm , bright and quite unlike the others",
    "房间很干净，服务也热情，就是早餐一般。下次还会再来的，推荐给大家！",
    "ホテルの部屋はとてもきれいでした",
    "ห้องพักสะอาดมาก",
    "one",
    "好",
    "...",
    "e\u0301te\u0301 👍🏽 C++",
]


def made(kind):
    """Values of a type: texts of several scripts; grey and coloured pictures of any shape; sounds of two rates, one of a single sample."""
    draw = numpy.random.default_rng(0)
    if kind is str:
        return TEXTS
    if kind is Image:
        shapes = [(8, 8), (33, 17, 3), (1, 1), (2, 40, 3)]
        return [Image(draw.integers(0, 255, shape, dtype=numpy.uint8), f"image {i}") for i, shape in enumerate(shapes)]
    return [
        Sound(draw.standard_normal(n).astype("float32") / 10, f"sound {n}", rate) for n, rate in ((4000, 8000), (16001, 16000), (1, 8000))
    ]


def applied(name, value, strength=0.5, key=0, others=()):
    draw = numpy.random.default_rng(key)
    return find("methods.augment", name).apply(value, draw, strength, lambda: others[int(draw.integers(len(others)))])


def plain(value):
    """What a value holds, to be compared."""
    if isinstance(value, str):
        return value
    return numpy.asarray(value.image()) if isinstance(value, Image) else value.decoded()[0]


def same(a, b):
    return a == b if isinstance(a, str) else a.shape == b.shape and numpy.array_equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_one_key_gives_one_value_and_others_give_others(name):
    values = made(find("methods.augment", name).KIND)
    found = [plain(applied(name, values[0], 1.0, key, values)) for key in (7, 7, *range(20))]
    assert same(found[0], found[1])
    assert sum(not same(found[0], other) for other in found[2:]) > 5


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_type_shape_rate_and_place_stay_and_no_text_is_emptied(name, strength):
    kind = find("methods.augment", name).KIND
    values = made(kind)
    for value in values:
        before = plain(value).copy() if kind is not str else value
        for key in range(40):
            found = applied(name, value, strength, key, values)
            assert type(found) is kind
            if kind is str:
                far = abs(len(found) - len(value)) > max(3, 0.6 * len(value))
                if not find("methods.augment", name).KEEPS_LABEL:  # words of another row may be longer ones, but are no more
                    far = len(words_in(pieces_of(found))) > len(words_in(pieces_of(value)))
                assert found.strip() and not far
            else:
                assert found.place == value.place and plain(found).shape == before.shape and plain(found).dtype == before.dtype
                assert numpy.isfinite(plain(found)).all()
            if kind is Sound:
                assert found.heading()[0] == value.heading()[0]
        assert same(plain(value), before), "the row itself was changed"


@pytest.mark.parametrize("name", NAMES)
def test_without_strength_nothing_changes(name):
    values = made(find("methods.augment", name).KIND)
    for value in values:
        found, before = plain(applied(name, value, 0.0, 3, values)), plain(value)
        assert found == before if isinstance(value, str) else numpy.allclose(found, before, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_view_is_a_function_of_seed_epoch_and_row_in_any_process(name):
    """Another process has it by pickle; every epoch sees the row otherwise, and the label stays."""
    kind = find("methods.augment", name).KIND
    task = find("tasks", TASKS[kind]).TASK
    examples, column = rows(task, 6), next(iter(task.input_columns()))
    if kind is str:
        examples = [{**example, "text": TEXTS[0]} for example in examples]
    (first,) = augmented(task(), Training(augment=[name], augment_strength=1.0), 5)
    again = pickle.loads(pickle.dumps(first))
    seen = [plain(first(examples, 2, epoch)[column]) for epoch in range(40)]
    assert all(same(now, plain(again(examples, 2, epoch)[column])) for epoch, now in enumerate(seen))
    assert sum(not same(seen[0], other) for other in seen) > 5, "epochs see the same"
    other_seed = augmented(task(), Training(augment=[name], augment_strength=1.0), 6)[0]
    assert any(not same(now, plain(other_seed(examples, 2, epoch)[column])) for epoch, now in enumerate(seen))
    assert any(not same(plain(first(examples, 1, epoch)[column]), plain(first(examples, 2, epoch)[column])) for epoch in range(20))
    assert all(first(examples, row, 0)["label"] == examples[row]["label"] for row in range(6))


def test_rows_of_a_table_are_seen_otherwise_and_stay_as_they_are(reviews):
    task = find("tasks", "text-classification").TASK
    examples = read(reviews).require(task.columns)
    seen = augmented(task(), Training(augment=["word-noise", "typos"], augment_strength=1.0), 0)[0]
    before = examples[3]
    assert seen(examples, 3, 0) != before == examples[3] and seen(examples, 3, 0).keys() == before.keys()
