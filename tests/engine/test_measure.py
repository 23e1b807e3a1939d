"""Quality with intervals, by group, and where two models part."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import ANY

import numpy
import pytest
import torch

from penjing.core.contracts import Batch, Prediction
from penjing.core.examples import read
from penjing.core.find import find
from penjing.engine.measure import best_way, by_group, differing, quality
from penjing.maths.intervals import wilson

TASK = find("tasks", "text-classification").TASK


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """60 rows of two labels; speaker 0 has 30 of them, speakers 1 to 10 three each."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    lines = [f"text {i},{'ab'[i % 2]},{0 if i < 30 else i // 3 - 9}" for i in range(60)]
    path.write_text("text,label,who\n" + "\n".join(lines) + "\n")
    return read(path)


class Sixty:
    """So many rows in one batch, as engine.batches.Encoded gives them, for models that do not look at them."""

    known, processor = True, None

    def __len__(self):
        return 60

    def read(self, rows):
        return numpy.ones(len(rows), dtype=int)

    def batch(self, rows):
        return Batch({}, {}, torch.tensor(rows))


def answers(wrong):
    return [Prediction("ab"[(i + (i in wrong)) % 2], 0.5 + i / 200) for i in range(60)]


def test_single_rows_have_wilsons_interval_and_groups_a_wider_one_where_they_move_together(rows):
    task, said = TASK(["a", "b"]), answers(set(range(30)))
    alone = quality(task, said, rows)["accuracy"]
    assert (alone.low, alone.high) == pytest.approx(wilson(30, 60)) and alone.unit == "share"
    grouped = quality(task, said, replace(rows, grouped="who"))["accuracy"]
    assert grouped.value == 0.5 and grouped.high - grouped.low > alone.high - alone.low


def test_errors_of_numbers_are_better_when_lower_and_in_their_own_unit(rows):
    task, numbers = TASK((), "number"), replace(rows, renamed={"label": "who"}, kinds={"label": float})
    found = quality(task, [Prediction(float(row["label"]) + 2) for row in numbers], numbers)
    assert (found["mae"].value, found["mae"].better, found["mae"].unit) == (2.0, "lower", "")
    assert found["r2"].better == found["spearman"].better == "higher" and found["spearman"].value == pytest.approx(1)


def test_the_way_to_decide_that_does_best_is_found_while_the_model_is_asked_once(rows):
    """Labels are told by chances of 30 % and 5 %: every threshold between makes no error, and of these the nearest to a half is taken."""
    task = TASK(["a", "b"], "many-labels")
    examples = [{"text": "x", "label": [row["label"]]} for row in rows]
    asked = []

    def backend(**inputs):
        asked.append(inputs)
        place = torch.tensor([["a", "b"].index(row["label"][0]) for row in examples])
        return SimpleNamespace(logits=torch.logit(torch.full((60, 2), 0.05).scatter(1, place[:, None], 0.3)))

    way, found, said = best_way(backend, task, Sixty(), examples)
    assert found == 1 and len(asked) == 1 and way.decision == {"threshold": 0.25}
    assert [one.value for one in said] == [row["label"] for row in examples]
    assert best_way(lambda **inputs: SimpleNamespace(logits=torch.zeros(60, 2)), TASK(["a", "b"]), Sixty(), rows) == (ANY, 0.5, ANY)


def test_the_largest_groups_come_first_and_each_has_its_own_quality(rows):
    task = TASK(["a", "b"])
    found = by_group(task, replace(rows, grouped="who"), {"parent": answers(set()), "child": answers({0, 1, 2})})
    assert found["num_groups"] == 11 and found["column"] == "who" and len(found["largest"]) == 8
    first = found["largest"][0]
    assert (first["group"], first["n"], first["parent"].value, first["child"].value) == ("0", 30, 1.0, 0.9)
    assert (first["child"].low, first["child"].high) == pytest.approx(wilson(27, 30))
    assert by_group(task, rows, {"child": answers(set())}) is None


def test_rows_that_turned_wrong_are_shown_before_those_that_turned_right(rows):
    found = differing(TASK(["a", "b"]), rows, answers({50}), answers({3, 8}))
    assert [(row["row"].split()[-1], row["parent"] == row["truth"], row["child"] == row["truth"]) for row in found] == [
        ("10", True, False), ("5", True, False), ("52", False, True),
    ]  # fmt: skip
