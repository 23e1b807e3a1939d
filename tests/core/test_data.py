"""Rows made ready for a task: bounded where they are many, with a word on the card, and labels counted without being listed."""

import csv

import pytest

from penjing.core import data
from penjing.core.data import Data, DataOptions
from penjing.core.errors import DataError
from penjing.core.find import find

KIND = find("tasks", "text-classification").TASK


def opened(path, labels, head=None):
    path.write_text("")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((f"review {i} of many", label) for i, label in enumerate(labels))])
    return Data.open(path, DataOptions(), KIND(head=head))


def test_no_more_rows_are_measured_than_are_needed_and_the_card_says_so(tmp_path, monkeypatch):
    rows = opened(tmp_path / "a.csv", ["good", "bad"] * 300)
    there = rows.roles.counts
    assert {name: len(rows.role(name)) for name in there} == there
    assert rows.left_out("proof") is None
    monkeypatch.setattr(data, "MOST_ROWS", {"tune": 10, "proof": 20, "all": 30})
    assert [len(rows.role(name)) for name in ("train", "tune", "proof", "all")] == [there["train"], 10, 20, 30]
    assert rows.left_out("proof") == f"measured on 20 of the {there['proof']} proof rows, evenly spread"
    assert rows.left_out("all") == "measured on 30 of the 600 rows, evenly spread"
    assert [int(place.split()[-1]) for place in map(rows.role("all").place, (0, 29))] == [2, 601]


def test_labels_are_counted_by_what_they_are_not_row_by_row(tmp_path):
    rows = opened(tmp_path / "a.csv", ["good", "bad", "good"] * 5)
    found = {target["label"]: count for target, count in rows.targets(KIND(["bad", "good"]))}
    assert found == {"good": 10, "bad": 5}
    assert sum(count for _, count in rows.targets(KIND(["bad", "good"]), "train")) == rows.roles.counts["train"]


def test_numbers_to_be_learnt_are_no_labels(tmp_path):
    rows = opened(tmp_path / "a.csv", [str(i / 7) for i in range(30)], "number")
    assert rows.targets(KIND(head="number")) == []
    rows.check_labels(KIND(head="number"), learnt=True)


def test_the_first_row_of_an_unknown_label_is_named_however_many_are_known(tmp_path):
    rows = opened(tmp_path / "a.csv", [*["good", "bad"] * 20, "goood", "good"])
    with pytest.raises(DataError, match=r"a.csv, row 42, column label: label 'goood' is not one this model knows"):
        rows.check_labels(KIND(["bad", "good"]))
