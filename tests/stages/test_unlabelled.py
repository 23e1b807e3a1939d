"""finetune with rows without labels, and with augmentation: from the call to the card."""

import csv

import numpy
import pytest
from PIL import Image

import penjing
from penjing.core.data import Data, DataOptions
from penjing.core.errors import OptionError
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.tasks.text_classification import TextClassification
from tests.conftest import write_reviews

QUICK = {"task": "text-classification", "learning_rate": 1e-3, "precision": "fp32", "folds": None}


@pytest.fixture(scope="module")
def single():
    """One thread: there is little to do."""
    return penjing.Runtime(threads=1, quiet=True)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """120 labelled reviews, and a file of 80 without labels, in which the labelled ones are too."""
    folder = tmp_path_factory.mktemp("few")
    labelled = write_reviews(folder / "few.csv", 120, seed=5)
    others = write_reviews(folder / "others.csv", 80, seed=6)
    texts = [row["text"] for path in (others, labelled) for row in csv.DictReader(path.read_text().splitlines())]
    (folder / "unlabelled.csv").write_text("text\n" + "\n".join(texts) + "\n")
    return folder


def made(few, out, runtime, **words):
    return penjing.finetune(
        "new:bert-tiny", few / "few.csv", out=out, runtime=runtime, **{**QUICK, "unlabelled": few / "unlabelled.csv", **words}
    )


def test_pseudo_labels_say_on_the_card_what_they_took_and_the_child_has_seen_these_rows(few, tmp_path, single):
    model, report = made(few, tmp_path / "out", single, epochs=4, confidence=0.55)
    found = report.facts["unlabelled"]
    assert found["rows"] == 80 and found["confidence"] == 0.55 and 0 < found["sure"] <= 80 and found["share"] == found["sure"] / 80
    left_out = [note for note in report.notes if note.startswith("unlabelled.csv: ")]
    assert sum(int(note.split()[1]) for note in left_out) == 120 and len(left_out) == 3
    said = (model.path / "README.md").read_text("utf-8")
    assert "80 rows without labels, unlabelled.csv, for pseudo-labels" in said and "at least 0.55" in said
    others = Data.open(few / "others.csv", DataOptions(), TextClassification)
    assert others.seen_share(ModelDir.open(model.path), "train") > 0.9
    assert sorted(path.name for path in model.path.iterdir() if path.is_dir()) == []


def test_where_no_row_is_sure_the_model_is_that_of_the_labelled_rows_alone(few, tmp_path, single):
    alone, _ = made(few, tmp_path / "alone", single, epochs=2, unlabelled=None)
    same, report = made(few, tmp_path / "same", single, epochs=2, confidence=1.0)
    assert report.facts["unlabelled"]["sure"] == 0 and same.sha256() == alone.sha256()


def test_consistency_learns_from_both_sorts_and_two_runs_are_equal(few, tmp_path, single):
    words = {"semi": "consistency", "augment": ["typos", "word-noise"], "epochs": 1, "confidence": 0.6}
    (one, report), (two, _) = (made(few, tmp_path / name, single, **words) for name in ("one", "two"))
    assert one.sha256() == two.sha256() and Report.read(one.path).facts["unlabelled"]["method"] == "consistency"
    assert report.facts["training"]["curve"] and "for consistency" in (one.path / "report.html").read_text("utf-8")


def test_the_same_call_finds_its_output_and_other_rows_do_not(few, tmp_path, single):
    first, _ = made(few, tmp_path / "out", single, epochs=1)
    again, _ = made(few, tmp_path / "out", single, epochs=1)
    assert first.sha256() == again.sha256()
    (tmp_path / "fewer.csv").write_text("text\nnew and lovely\n")
    with pytest.raises(OptionError, match=r"rows of --unlabelled \w+, now \w+"):
        made(few, tmp_path / "out", single, epochs=1, unlabelled=tmp_path / "fewer.csv")


def test_images_without_labels_are_listed_by_a_table(tmp_path, single):
    draw = numpy.random.default_rng(0)
    for name, bright in (("data/dark", 0), ("data/light", 160), ("more", 80)):
        (tmp_path / name).mkdir(parents=True)
        for i in range(24):
            Image.fromarray((bright + draw.integers(0, 80, (8, 8))).astype("uint8")).save(tmp_path / name / f"{i}.png")
    (tmp_path / "more" / "metadata.csv").write_text("file_name\n" + "".join(f"{i}.png\n" for i in range(24)))
    _, report = penjing.finetune(
        "new:cnn-tiny", tmp_path / "data", task="image-classification", out=tmp_path / "out", runtime=single, epochs=2, learning_rate=1e-2,
        unlabelled=tmp_path / "more", augment=["crop", "flip"], confidence=0.5,
    )  # fmt: skip
    assert report.facts["unlabelled"]["sure"] == 24


def test_a_teachers_pupil_sees_augmented_rows_too(text_parent, reviews, tmp_path, runtime):
    words = {"student": "new:bert-tiny", "runtime": runtime, "epochs": 0.1, "precision": "fp32"}
    plain, _ = penjing.distill(text_parent, reviews, out=tmp_path / "plain", **words)
    noisy, _ = penjing.distill(text_parent, reviews, out=tmp_path / "noisy", augment=["typos"], **words)
    assert plain.sha256() != noisy.sha256()
