"""Steps beside each other: which are comparable, and that the table says what their reports say."""

import copy
import re

import pytest

from penjing.engine import beside
from penjing.engine.page import page
from tests.engine.conftest import share

COSTS = {"scratch": (22_700_000, 1.0, 130.0), "probe": (149_000, 149 / 22_700, 41.2), "full": (22_700_000, 1.0, 185.0)}
RIGHT = {"scratch": 0.7912, "probe": 0.8203, "full": 0.8842}


@pytest.fixture
def steps(finetuned):
    """Three trainings of one parent on one data set, invented."""
    found = []
    for name, (count, part, seconds) in COSTS.items():
        report, meta = copy.deepcopy(finetuned)
        report.parent, report.options = {"path": "models/base", "sha256": "bb" * 32}, {"method": name}
        report.after["accuracy"] = share(RIGHT[name], 776)
        report.facts["training"] |= {"learnt": {"parameters": count, "share": part, "note": ""}, "seconds": seconds}
        found.append((name, report, meta))
    return found


def pairs(steps):
    return [(name, report) for name, report, _ in steps]


def test_each_line_tells_quality_with_its_interval_what_was_trained_and_how_long(steps):
    head, *lines = beside.text(pairs(steps)).splitlines()
    assert re.split(r"\s{2,}", head.strip()) == ["method", "accuracy, tuning rows", "trained parameters", "share", "time"]
    assert re.split(r"\s{2,}", lines[1].strip()) == ["probe", "probe", "82.0 % (79.2–84.6)", "149 k", "0.66 %", "41.2 s"]
    assert [line.split()[0] for line in lines] == list(COSTS) and lines[2].endswith("3 min 05 s")


def test_the_page_shows_table_and_figure_before_the_steps(steps):
    text = page(steps, "transfer")
    assert text.index("Beside each other") < text.index("<article")
    assert "149 k" in text and "82.0 % (79.2–84.6)" in text
    (alt,) = re.findall(r'aria-label="(Accuracy on tuning rows against the number of parameters[^"]*)"', text)
    assert all(name in alt for name in COSTS) and "79.1 %" in alt


@pytest.mark.parametrize("what", ["another parent", "no parent", "other rows", "another stage", "nothing was trained"])
def test_what_is_not_alike_is_not_set_beside(steps, what):
    *_, (_, report, _) = steps[:2]
    if what == "another parent":
        report.parent = {"path": "models/other", "sha256": "cc" * 32}
    elif what == "no parent":
        report.parent = None
    elif what == "other rows":
        report.data["fingerprint"] = "ee" * 32
    elif what == "another stage":
        report.stage = "distill"
    else:
        del report.facts["training"]
    assert [name for name, _ in beside.comparable(pairs(steps))] == ["scratch", "full"]
    assert beside.text(pairs(steps[1:])) == beside.section(pairs(steps[1:])) == ""
