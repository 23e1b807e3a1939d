"""What is typed wrong about augmentation and rows without labels."""

import pytest

from tests.conftest import write_reviews

NEW = ("finetune", "new:bert-tiny", "rows.csv", "--task", "text-classification", "--out", "made")


@pytest.fixture(autouse=True)
def files(tmp_path):
    write_reviews(tmp_path / "rows.csv", 60)
    write_reviews(tmp_path / "labelled.csv", 20, seed=1)
    (tmp_path / "more.csv").write_text("text\nnew and lovely\nnew and dull\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("text\n")
    (tmp_path / "other.csv").write_text("words\nnew\n")


MISTAKES = {
    "an augmentation that is not there": (("--augment", "typo"), ["no augmentation called 'typo'", "'typos'"]),
    "one of another medium": (
        ("--augment", "typos,crop"),
        ["--augment crop changes images, and this task reads text", "typos, word-noise"],
    ),
    "too strong": (("--augment", "typos", "--augment-strength", "2"), ["--augment-strength cannot be '2'", "0 to 1"]),
    "no such file": (("--unlabelled", "moer.csv"), ["no file or folder 'moer.csv'", "'more.csv'"]),
    "an empty file": (("--unlabelled", "empty.csv"), ["empty.csv: the file is empty", "a file with rows"]),
    "only a header": (("--unlabelled", "header.csv"), ["header.csv: only a header, no rows", "below the header"]),
    "a missing column": (("--unlabelled", "other.csv"), ["other.csv: no column 'text'", "'words'", "--columns text="]),
    "labelled rows": (("--unlabelled", "labelled.csv"), ["labelled.csv: these rows have labels", "no column 'label'", "among DATA"]),
    "no such way": (("--unlabelled", "more.csv", "--semi", "fixmatch"), ["no method for rows without labels called", "'consistency'"]),
    "no views": (("--unlabelled", "more.csv", "--semi", "consistency"), ["compares views of a row", "typos, word-noise", "--augment"]),
    "two losses": (
        ("--unlabelled", "more.csv", "--semi", "consistency", "--augment", "typos", "--class-weights", "balanced"),
        ["--semi consistency has a loss of its own, without --class-weights", "leave --class-weights out"],
    ),
    "smoothed labels": (
        ("--unlabelled", "more.csv", "--semi", "consistency", "--augment", "typos", "--label-smoothing", "0.1"),
        ["--semi consistency has a loss of its own, without --label-smoothing", "leave --label-smoothing out"],
    ),
    "a confidence beyond": (("--unlabelled", "more.csv", "--confidence", "95"), ["--confidence cannot be '95'", "0 to 1"]),
    "ranks": (("--unlabelled", "more.csv", "--ranks", "2"), ["--ranks is for one training, and --unlabelled", "leave --ranks out"]),
}


@pytest.mark.parametrize("words, parts", MISTAKES.values(), ids=MISTAKES)
def test_what_will_not_do_is_refused_before_anything_is_trained(refused, words, parts):
    refused((*NEW, *words), *parts)


def test_rows_without_labels_are_for_answers_of_one_label(refused, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"word {i},{i / 7:.3f}\n" for i in range(60)))
    refused(
        (*NEW, "--head", "number", "--unlabelled", "more.csv"),
        "--unlabelled is for answers that are one label, and these are number",
        "leave --unlabelled",
    )


def test_a_plan_checks_them_too(refused):
    refused((*NEW, "--dry-run", "--unlabelled", "labelled.csv"), "labelled.csv: these rows have labels")
