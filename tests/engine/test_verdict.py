"""Which test a metric calls for, and floors as users write them."""

from dataclasses import replace

import pytest

from penjing.core.contracts import Prediction
from penjing.core.examples import read
from penjing.core.find import find
from penjing.engine.verdict import floor_share, proof_facts, verdict
from penjing.maths.proof import judge

TASK = find("tasks", "text-classification").TASK


class F1Task(TASK):
    """The same task with a metric that is no mean over rows."""

    def __init__(self, labels):
        super().__init__(labels)
        self.primary = "macro_f1"

    def per_row(self, predictions, examples):
        return None


def answers(wrong):
    """200 rows of which the numbers in `wrong` are answered wrongly."""
    return [Prediction("b" if i in wrong else "a") for i in range(200)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """199 rows of a and one of b, five of each speaker."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("text,label,who\n" + "".join(f"x,{'b' if i == 199 else 'a'},{i // 5}\n" for i in range(200)))
    return read(path)


def test_a_floor_is_points_or_a_share_of_the_parents_quality():
    assert floor_share("1.5", 0.8) == pytest.approx(0.015)
    assert floor_share("3%", 0.8) == pytest.approx(0.024)


def test_right_and_wrong_rows_go_through_the_score_test_on_those_that_changed(rows):
    parent, child = answers({199, 0, 1}), answers({199, 1, 2, 3})
    found = verdict(TASK(["a", "b"]), rows, parent, child, 0.03, seed=0)
    assert found == judge(2, 1, 200, 0.03)
    assert (found.worse, found.better, found.loss) == (2, 1, pytest.approx(0.005))


def test_rows_that_come_in_groups_are_drawn_group_by_group(rows):
    """Seven rows of one speaker turn wrong, or one row each of seven: the same counts, and less evidence."""
    together, apart = answers({199, 0, 1, 2, 3, 4, 5, 6}), answers({199, 0, 10, 20, 30, 40, 50, 60})
    grouped = replace(rows, grouped="who")
    one, many = (verdict(TASK(["a", "b"]), grouped, answers({199}), child, 0.1, seed=0) for child in (together, apart))
    assert one.n == many.n == 40 and one.worse is None and one.upper > many.upper
    assert verdict(TASK(["a", "b"]), rows, answers({199}), together, 0.1, seed=0).upper < one.upper
    assert proof_facts(one, "10", "groups")["method"] == "paired bootstrap over groups, one-sided 95 %"


def test_other_metrics_go_through_a_bootstrap_of_rows(rows):
    parent, child = answers({199, 0, 1}), answers({199, 1, 2, 3})
    found = verdict(F1Task(["a", "b"]), rows, parent, child, 0.03, seed=0)
    assert found.worse is None and found.upper > found.loss


def test_facts_are_in_points_and_say_by_how_much_the_floor_was_missed():
    passed, failed = proof_facts(judge(2, 1, 2000, 0.01), "1.0"), proof_facts(judge(30, 1, 2000, 0.01), "1.0", opened=3)
    assert passed["passed"] and "missed_by" not in passed and passed["floor_text"] == "1.0 points"
    assert failed["missed_by"] == pytest.approx(failed["upper"] - 1.0) and failed["missed_by"] > 0 and failed["opened"] == 3
    assert failed["loss"] == pytest.approx(1.45)
