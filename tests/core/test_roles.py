"""Roles follow from what rows say and from nothing else, so that no row that taught a model ever proves it or its child."""

import csv
import io
import random

import numpy
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from penjing.core.content import content
from penjing.core.errors import DataError, OptionError
from penjing.core.examples import read
from penjing.core.roles import ROLES, assign, cross_fit, merge_sketches, overlap

TEXTS = [f"review number {i} of {i * i}" for i in range(6000)]


def examples(path, texts, **columns):
    columns = {"text": texts, **columns}
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values())])
    return read(path)


def by_text(rows, roles):
    return {text: role for role in ROLES for text in rows.take(roles.rows(role)).column("text")}


def test_roles_do_not_depend_on_order_labels_or_file(tmp_path):
    shuffled = random.Random(0).sample(TEXTS, len(TEXTS))
    one = examples(tmp_path / "one.csv", TEXTS, label=["a"] * len(TEXTS))
    two = examples(tmp_path / "two.tsv.csv", shuffled, mood=[str(i) for i in range(len(TEXTS))])
    assert by_text(one, assign(one, ["text"])) == by_text(two, assign(two, ["text"]))


def test_a_single_file_is_shared_out_seventy_ten_twenty(tmp_path):
    rows = examples(tmp_path / "a.csv", TEXTS)
    roles = assign(rows, ["text"])
    assert roles.how == "hash" and sum(roles.counts.values()) == len(TEXTS)
    for role, share in {"train": 0.7, "tune": 0.1, "proof": 0.2}.items():
        assert abs(roles.counts[role] / len(TEXTS) - share) < 4 * (share * (1 - share) / len(TEXTS)) ** 0.5  # 4 standard errors
    assert any(note.startswith("proof: 20.0%") for note in roles.notes)


def test_another_salt_draws_other_roles_and_the_same_salt_the_same(tmp_path):
    rows = examples(tmp_path / "a.csv", TEXTS)
    first, same, other = (assign(rows, ["text"], salt).role for salt in ("penjing", "penjing", "bonsai"))
    assert (first == same).all()
    assert abs((first == other).mean() - (0.7**2 + 0.1**2 + 0.2**2)) < 0.03  # as independent draws agree


def test_near_duplicates_have_one_role(tmp_path):
    written = [
        text for number in range(300) for text in (f"Film No. {number}: good", f"film no {number} good!!", f"ＦＩＬＭ no.{number}\ngood")
    ]
    rows = examples(tmp_path / "a.csv", written)
    role = assign(rows, ["text"]).role.reshape(300, 3)
    assert (role == role[:, :1]).all() and len(numpy.unique(role)) == 3


@pytest.mark.parametrize(
    "one, two", [("-1", "1"), (":)", ":("), ("C++ code", "C code"), ("good 😀", "good 😡"), ("कि", "का"), ("1.5", "15")]
)
def test_rows_that_mean_something_else_are_told_apart(tmp_path, one, two):
    hashes = content(examples(tmp_path / "a.csv", [one, two]), ["text"])
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    "one, two", [("很好，喜欢！", "很好 喜欢"), ("Straße", "STRASSE"), ("do n't", "don't"), ("ﬁne", "fine"), ("a\u200bb", "ab")]
)
def test_rows_that_are_written_otherwise_are_the_same(tmp_path, one, two):
    hashes = content(examples(tmp_path / "a.csv", [one, two]), ["text"])
    assert hashes[0] == hashes[1]


def test_content_is_of_all_input_columns_in_any_order(tmp_path):
    rows = examples(tmp_path / "a.csv", ["a b", "a"], pair=["c", "b c"])
    hashes = content(rows, ["text", "pair"])
    assert hashes[0] != hashes[1] and (hashes == content(rows, ["pair", "text"])).all()


def test_images_are_compared_by_pixels(tmp_path):
    def encoded(number, kind):
        file = io.BytesIO()
        Image.new("RGB", (4, 4), (number, 0, 0)).save(file, kind)
        return file.getvalue()

    images = [encoded(number, kind) for number in range(50) for kind in ("png", "bmp")]
    pyarrow.parquet.write_table(pyarrow.table({"image": images}), tmp_path / "a.parquet")
    rows = read(tmp_path / "a.parquet")
    hashes = content(rows, ["image"]).reshape(50, 2)
    assert (hashes[:, 0] == hashes[:, 1]).all() and len(numpy.unique(hashes)) == 50
    assert (content(rows.take([3, 2]), ["image"]) == content(rows, ["image"])[[3, 2]]).all()


def test_words_in_a_list_are_compared_as_their_text(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["Good", "film", "."]}\n{"tokens": ["good", "film"]}\n{"tokens": ["bad", "film"]}\n')
    hashes = content(read(tmp_path / "a.jsonl"), ["tokens"])
    assert hashes[0] == hashes[1] != hashes[2]


def folder(tmp_path, **splits):
    for split, texts in splits.items():
        examples(tmp_path / "data" / f"{split}.csv", texts)
    return read(tmp_path / "data")


def test_official_splits_win(tmp_path):
    rows = folder(tmp_path, train=TEXTS[:100], validation=TEXTS[100:120], test=TEXTS[120:150])
    roles = assign(rows, ["text"])
    assert (roles.how, roles.counts, roles.notes) == ("official", {"train": 100, "tune": 20, "proof": 30}, ())
    assert rows.take(roles.rows("proof")).column("text") == TEXTS[120:150]


@pytest.mark.parametrize("given, missing, share", [("test", "tune", 10 / 80), ("validation", "proof", 20 / 90)])
def test_a_missing_split_is_carved_out_of_train(tmp_path, given, missing, share):
    rows = folder(tmp_path, train=TEXTS[:5000], **{given: TEXTS[5000:]})
    roles = assign(rows, ["text"])
    assert roles.how == "mixed" and roles.counts[{"test": "proof", "validation": "tune"}[given]] == 1000
    assert abs(roles.counts[missing] / 5000 - share) < 4 * (share * (1 - share) / 5000) ** 0.5
    assert roles.notes[0].startswith(f"{missing}: {share:.1%}")


def test_rows_of_train_that_occur_in_other_splits_are_left_out_and_counted(tmp_path):
    rows = folder(tmp_path, train=["a x", "b x", "C, X!", "d x"], validation=["b x", "e x", "f x"], test=["c x", "f  x", "g x"])
    roles = assign(rows, ["text"])
    assert rows.take(roles.rows("train")).column("text") == ["a x", "d x"]
    assert rows.take(roles.rows("tune")).column("text") == ["b x", "e x"]
    assert roles.counts["proof"] == 3
    assert roles.notes == (
        "train: 1 rows left out, whose input occurs in tune too",
        "train: 1 rows left out, whose input occurs in proof too",
        "tune: 1 rows left out, whose input occurs in proof too",
    )


def test_groups_stay_on_one_side(tmp_path):
    speaker = [f"speaker {i % 97}" for i in range(len(TEXTS))]
    rows = examples(tmp_path / "a.csv", TEXTS, speaker=speaker)
    roles = assign(rows, ["text"], by="speaker")
    sides = [set(numpy.array(speaker)[roles.rows(role)]) for role in ROLES]
    assert all(sides) and not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_rows_said_by_two_groups_do_not_leak(tmp_path):
    """Every text is said by many speakers; those on another side leave train."""
    rows = examples(tmp_path / "a.csv", ["same words"] * 50 + TEXTS[:50], speaker=[str(i) for i in range(100)])
    roles = assign(rows, ["text"], by="speaker")
    texts = [set(rows.take(roles.rows(role)).column("text")) for role in ROLES]
    assert not (texts[0] & texts[1] or texts[0] & texts[2] or texts[1] & texts[2])


def test_official_splits_that_share_a_group_lose_its_train_rows(tmp_path):
    for split, texts, speakers in (("train", ["a", "b", "c"], ["1", "1", "2"]), ("test", ["d"], ["1"])):
        examples(tmp_path / "data" / f"{split}.csv", texts, speaker=speakers)
    examples(tmp_path / "data" / "dev.csv", ["e"], speaker=["3"])
    roles = assign(read(tmp_path / "data"), ["text"], by="speaker")
    assert roles.counts == {"train": 1, "tune": 1, "proof": 1}
    assert roles.notes == ("train: 2 rows left out, whose speaker occurs in proof too",)


def test_a_row_without_its_group_is_refused(tmp_path):
    rows = examples(tmp_path / "a.csv", TEXTS[:3], speaker=["a", "", "b"])
    with pytest.raises(DataError, match=r"row 3: speaker is empty"):
        assign(rows, ["text"], by="speaker")


def test_an_unknown_role_names_those_there_are(tmp_path):
    with pytest.raises(OptionError, match=r"no role 'prove'(.|\n)*'proof'"):
        assign(examples(tmp_path / "a.csv", TEXTS[:3]), ["text"]).rows("prove")


def test_a_sketch_finds_what_a_model_was_trained_on(tmp_path):
    rows = examples(tmp_path / "a.csv", TEXTS)
    roles = assign(rows, ["text"])
    assert len(roles.sketch) == 256
    assert overlap(roles.sketch, rows.take(roles.rows("train")), ["text"]).share == 1
    assert overlap(roles.sketch, rows.take(roles.rows("proof")), ["text"]).share == 0
    assert overlap(roles.sketch, examples(tmp_path / "b.csv", [f"other {i}" for i in range(6000)]), ["text"]).share == 0


def test_a_sketch_estimates_a_partial_overlap_within_its_error(tmp_path):
    """Half of train and as many new rows: 0.5 of the rows asked were trained on; about 256 are compared."""
    rows = examples(tmp_path / "a.csv", TEXTS)
    roles = assign(rows, ["text"])
    train = rows.take(roles.rows("train")).column("text")
    half = train[::2]
    found = overlap(roles.sketch, examples(tmp_path / "b.csv", half + [f"new {i}" for i in range(len(half))]), ["text"])
    assert found.compared > 150
    assert abs(found.share - 0.5) < 4 * (0.25 / found.compared) ** 0.5


def test_a_sketch_of_few_rows_is_exact(tmp_path):
    rows = folder(tmp_path, train=TEXTS[:100], dev=TEXTS[200:210], test=TEXTS[210:220])
    found = overlap(assign(rows, ["text"]).sketch, examples(tmp_path / "b.csv", TEXTS[90:110]), ["text"])
    assert found == (0.5, 20)


def test_a_sketch_is_of_different_rows_however_often_each_is_there(tmp_path):
    few, often = TEXTS[:300], [text for text in TEXTS[:300] for _ in range(20)]
    sketches = [assign(examples(tmp_path / f"{len(texts)}.csv", texts), ["text"]).sketch for texts in (few, often)]
    assert sketches[0] == sketches[1] and len(sketches[0]) == len(set(sketches[0])) > 150


def test_merged_sketches_are_the_sketch_of_all_rows(tmp_path):
    one, two, both = (
        assign(folder(tmp_path / name, train=texts, dev=["x"], test=["y"]), ["text"]).sketch
        for name, texts in (("1", TEXTS[:3000]), ("2", TEXTS[2000:5000]), ("3", TEXTS[:5000]))
        if (tmp_path / name).mkdir() is None
    )
    assert merge_sketches(one, two) == list(both)


def test_content_hashes_are_kept_between_calls(tmp_path, monkeypatch):
    rows = examples(tmp_path / "a.csv", TEXTS[:10])
    first = content(rows, ["text"])
    monkeypatch.setattr("penjing.core.content.normalised", None)  # a second look would fail
    assert (content(rows, ["text"]) == first).all()


def test_in_a_cross_fit_every_row_proves_once_and_is_learnt_from_or_tuned_on_otherwise(tmp_path):
    whole, *rounds = cross_fit(examples(tmp_path / "rows.csv", TEXTS[:200]), ["text"], 5)
    assert whole.counts["proof"] == 0 and whole.counts["train"] + whole.counts["tune"] == 200
    proves = numpy.array([roles.role == ROLES.index("proof") for roles in rounds])
    assert (proves.sum(0) == 1).all() and proves.sum(1).min() > 20
    assert all(10 <= roles.counts["tune"] <= 40 for roles in (whole, *rounds))


def test_in_a_cross_fit_the_rows_of_a_group_prove_together(tmp_path):
    rows = examples(tmp_path / "rows.csv", TEXTS[:170], speaker=[str(i % 17) for i in range(170)])
    speakers = numpy.array(rows.column("speaker"))
    for roles in cross_fit(rows, ["text"], 3, by="speaker")[1:]:
        proving = set(speakers[roles.role == ROLES.index("proof")])
        assert proving and not proving & set(speakers[roles.role != ROLES.index("proof")])
