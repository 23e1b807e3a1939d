"""Rows without labels: none of them is a row that measures, and whatever cannot be used is refused."""

import json

import numpy
import pytest

from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError
from penjing.core.roles import ROLES, overlap
from penjing.core.unlabelled import add_unlabelled, open_unlabelled, sketches, unseen
from penjing.tasks.text_classification import TextClassification as Task

PLAIN = DataOptions()
TEXTS = [f"word{i} and word{i + 1}" for i in range(200)]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(folder, unlabelled, options=PLAIN, folds=0, **labelled):
    rows = [{"text": text, "label": "ab"[i % 2], **{name: values[i] for name, values in labelled.items()}} for i, text in enumerate(TEXTS)]
    data = Data.open(write(folder / "labelled.jsonl", rows), options, Task, folds=folds)
    add_unlabelled(data, write(folder / "more.jsonl", unlabelled), options, Task)
    return data


def test_rows_that_are_also_labelled_ones_are_left_out_and_counted_by_their_role(tmp_path):
    """Written in capitals and with a full stop they are the same rows."""
    data = opened(tmp_path, [{"text": f"{text.upper()}."} for text in TEXTS] + [{"text": f"new {i}"} for i in range(50)])
    rows, notes = unseen(data)
    assert rows.column("text") == [f"new {i}" for i in range(50)]
    counts = {role: len(data.roles.rows(role)) for role in ROLES}
    assert notes == [f"more.jsonl: {counts[role]} rows left out, which are among the {role} rows" for role in ROLES]


def test_of_a_row_that_is_left_out_of_train_as_tune_has_it_no_copy_is_learnt_from(tmp_path):
    (tmp_path / "data").mkdir()
    for split, texts in {"train": ["one", "two", "three"], "validation": ["one", "four"], "test": ["five"]}.items():
        write(tmp_path / "data" / f"{split}.jsonl", [{"text": text, "label": "a"} for text in texts])
    data = Data.open(tmp_path / "data", DataOptions(), Task)
    assert data.roles.counts == {"train": 2, "tune": 2, "proof": 1}
    add_unlabelled(data, write(tmp_path / "more.jsonl", [{"text": text} for text in ("one", "four", "five", "six")]), DataOptions(), Task)
    assert unseen(data)[0].column("text") == ["six"]


def test_no_row_of_a_speaker_who_measures_is_learnt_from(tmp_path):
    speakers = [f"speaker {i % 20}" for i in range(len(TEXTS))]
    given = [{"text": f"new {i}", "who": f"speaker {i % 25}"} for i in range(100)]
    data = opened(tmp_path, given, DataOptions(groups="who"), who=speakers)
    measuring = {row["who"] for role in ("tune", "proof") for row in data.role(role)}
    rows, notes = unseen(data)
    assert set(rows.column("who")) == {f"speaker {i}" for i in range(25)} - measuring
    assert measuring and all("or in a group of theirs" in note for note in notes)


def test_each_round_of_a_cross_fit_leaves_out_the_rows_that_prove_in_it(tmp_path):
    data = opened(tmp_path, [{"text": text} for text in (*TEXTS, "new")], folds=3)
    assert len(data.rounds) == 3
    for part in (data, *data.rounds):
        assert unseen(part)[0].column("text") == ["new"]


def test_a_child_is_known_to_have_seen_the_rows_without_labels(tmp_path):
    data = opened(tmp_path, [{"text": f"new {i}"} for i in range(30)])
    found = overlap([number for each in sketches(data) for number in each], unseen(data)[0], ["text"])
    assert found.share == 1 and found.compared == 30


def test_rows_follow_others_under_one_name_and_nothing_else_changes(tmp_path):
    """Whatever the files call their columns, and whatever rows of them are shown."""
    lab = write(tmp_path / "labelled.jsonl", [{"sentence": t, "mood": i % 2, "more": i} for i, t in enumerate(TEXTS)])
    options = DataOptions(columns=["text=sentence", "label=mood"])
    data = Data.open(lab, options, Task)
    others = open_unlabelled(write(tmp_path / "more.jsonl", [{"sentence": f"new {i}", "mood": None} for i in range(9)]), options, Task)
    train = data.role("train")
    both = train.followed_by(others.take([8, 2]), "label", ["1", "0"])
    assert len(both) == len(train) + 2
    for i in (0, 7, len(train) - 1):
        assert both[i]["text"] == train[i]["text"] and both[i]["label"] == train[i]["label"]
    assert [(row["text"], row["label"]) for row in both[len(train) :]] == [("new 8", "1"), ("new 2", "0")]
    assert both.column("label") == [*train.column("label"), "1", "0"]
    assert both.place(len(train)) == "more.jsonl, line 9" and len(both.sizes(["text"])) == len(both)
    assert numpy.array_equal(both.take([0, len(train)]).sizes(["text"]), [len(train[0]["text"]), len("new 8")])


BAD = {
    "a missing column": ([{"words": "a"}], "more.jsonl: no column 'text'", "'words'"),
    "an empty value": ([{"text": "a"}, {"text": " "}], "more.jsonl, line 2: text is empty", "text"),
    "labels": ([{"text": "a", "label": "b"}], "more.jsonl: these rows have labels: label 'b'", "no column 'label'"),
    "nothing new": ([{"text": TEXTS[0]}], "more.jsonl: every row of it is a row of labelled.jsonl too", "other rows"),
}


@pytest.mark.parametrize("rows, problem, wanted", BAD.values(), ids=BAD)
def test_rows_that_will_not_do_are_refused(tmp_path, rows, problem, wanted):
    with pytest.raises(DataError) as error:
        opened(tmp_path, rows)
    assert problem in str(error.value) and wanted in str(error.value)


def test_labels_under_a_name_that_columns_gives_are_refused_too(tmp_path):
    path = write(tmp_path / "more.jsonl", [{"text": "a", "mood": "good"}])
    with pytest.raises(DataError, match="these rows have labels: label 'good'"):
        open_unlabelled(path, DataOptions(columns=["label=mood"]), Task)


def test_an_empty_label_is_none(tmp_path):
    assert len(open_unlabelled(write(tmp_path / "more.jsonl", [{"text": "a", "label": ""}]), DataOptions(), Task)) == 1


def test_bad_rows_can_be_left_out_here_too_and_are_counted(tmp_path):
    rows = [{"text": f"new {i}"} for i in range(40)] + [{"text": ""}]
    data = opened(tmp_path, rows, DataOptions(skip_bad_rows=True))
    found, notes = unseen(data)
    assert len(found) == 40
    assert notes == ["more.jsonl: 1 rows left out, as they cannot be used, the first: more.jsonl, line 41: text is empty"]
