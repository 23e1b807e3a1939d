"""A recipe does what is not done yet: a second run nothing, a changed option only what depends on it."""

import json

import pytest

import penjing
from penjing import cli

RECIPE = """
title = "Two steps"
data = "{reviews}"

[layers]
stage = "finetune"
model = "{parent}"
epochs = 0.1

[half]
stage = "prune"
model = "layers"
method = "layers"       # also the name of a step, which must not matter
epochs = 0
"""


@pytest.fixture(scope="module")
def runs(few, tmp_path_factory, text_parent, reviews):
    """A folder with a recipe in it, run once."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "mine.toml").write_text(RECIPE.format(reviews=reviews, parent=text_parent), "utf-8")
    assert again(folder) == ["layers", "half"]
    return folder


def again(folder, *words):
    """Run it; the steps whose directory is a new one."""
    before = times(folder)
    assert cli.main(["run", str(folder / "mine.toml"), "--out", str(folder / "out"), "--threads=1", "--quiet", *words]) == 0
    return [name for name, time in times(folder).items() if before.get(name) != time]


def times(folder):
    steps = {name: folder / "out" / "mine" / name / "penjing.json" for name in ("layers", "half")}
    return {name: path.stat().st_mtime_ns for name, path in steps.items() if path.exists()}


def test_outputs_and_one_page_about_all_steps_lie_in_the_folder_of_the_recipe(runs):
    assert sorted(path.name for path in (runs / "out" / "mine").iterdir()) == ["half", "layers", "report.html"]
    page = (runs / "out" / "mine" / "report.html").read_text("utf-8")
    assert "Two steps" in page and "half" in page
    half = json.loads((runs / "out" / "mine" / "half" / "penjing.json").read_text("utf-8"))
    assert [step["stage"] for step in half["lineage"]] == ["finetune", "finetune", "prune"]


def test_a_second_run_does_nothing_and_prints_the_same(runs, capsys):
    page = runs / "out" / "mine" / "report.html"
    written = page.stat().st_mtime_ns
    assert again(runs) == []
    assert page.stat().st_mtime_ns == written
    said = capsys.readouterr().out
    assert said.startswith("── layers\n") and f"next\n  open {page}" in said


def test_a_dry_run_tells_of_each_step_what_would_be_done(runs, capsys):
    given = ["run", str(runs / "mine.toml"), "--out", str(runs / "out"), "--threads=1", "--quiet", "--dry-run"]
    before = times(runs)
    capsys.readouterr()
    assert cli.main(given) == 0
    assert capsys.readouterr().out.count("is already done: nothing would be done") == 2
    assert cli.main([*given, "--json", "--set", "layers.epochs=0.7"]) == 0
    layers, half = json.loads(capsys.readouterr().out)
    assert not layers["done"] and layers["training"]["steps"] == 16 and half["after"] == "layers"
    assert times(runs) == before


def test_a_changed_option_reruns_its_step_and_those_that_depend_on_it(runs):
    assert again(runs, "--set", "half.keep_share=1") == ["half"]
    assert again(runs, "--set", "layers.epochs=0.2") == ["layers", "half"]


def test_a_step_that_fails_leaves_those_before_it_and_its_own_old_output(runs, capsys):
    before = times(runs)
    assert (
        cli.main(["run", str(runs / "mine.toml"), "--out", str(runs / "out"), "--threads=1", "--quiet", "--set", "half.method=channels"])
        == 2
    )
    assert "channels does not fit" in capsys.readouterr().err
    assert times(runs)["half"] == before["half"]
    assert sorted(path.name for path in (runs / "out" / "mine").iterdir()) == ["half", "layers", "report.html"]


def test_a_recipe_prints_a_list_for_programs_and_is_a_function_in_python(runs, capsys, runtime):
    capsys.readouterr()
    assert cli.main(["run", str(runs / "mine.toml"), "--out", str(runs / "out"), "--threads=1", "--quiet", "--json"]) == 0
    assert [report["stage"] for report in json.loads(capsys.readouterr().out)] == ["finetune", "prune"]
    done = penjing.run(str(runs / "mine.toml"), out=runs / "out", runtime=runtime)
    assert [(name, report.stage) for name, _, report in done] == [("layers", "finetune"), ("half", "prune")]
