"""What README.md shows is done here: its commands, its Python, its error, its recipe; and every link of the documents leads somewhere.

Commands go through the function that `penjing` calls, in one folder, in the order of the page; options added here cut trainings short.
"""

import os
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from penjing import cli
from penjing.engine import measure
from penjing.stages import shrink
from tests.conftest import write_reviews

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/architecture.md", "docs/adding.md", "docs/concepts.md"]
README = (ROOT / "README.md").read_text("utf-8")
QUICK = {
    "finetune": ["--threads=2"],
    "distill": ["--threads=2", "--epochs=1"],
    "prune": ["--threads=2", "--epochs=1"],
    "shrink": ["--threads=2", "--epochs=1", "--candidates=1"],
    "run digits": [
        "--threads=2",
        "--set=teacher.epochs=1",
        "--set=small.epochs=1",
        "--set=small.candidates=1",
        "--set=small.students=none",
    ],
    "run reviews.toml": ["--threads=2", "--set=teacher.epochs=1"],
}
"""What makes a command quick; it changes no word that the page shows."""


def blocks(language):
    """The fenced blocks of a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def commands():
    """(command line, what the page shows below it) in the order of the page."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, shown = part.partition("\n")
            found.append((line, shown.strip()))
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the files that the page speaks of; intervals from few resamples, and few shapes to search."""
    where = tmp_path_factory.mktemp("readme")
    text = write_reviews(where / "reviews.csv", 1000).read_text("utf-8").replace(",good", ",positive").replace(",bad", ",negative")
    (where / "reviews.csv").write_text(text, "utf-8")
    lines = text.splitlines()
    lines[41] = lines[41].rsplit(",", 1)[0] + ",postive"  # the header is row 1
    (where / "mistyped.csv").write_text("\n".join(lines), "utf-8")
    (recipe,) = blocks("toml")
    (where / "reviews.toml").write_text(recipe, "utf-8")
    before = Path.cwd()
    os.chdir(where)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "RESAMPLES", 20)
        patch.setattr(shrink, "LAYER_SHARES", (0.5,))
        patch.setattr(shrink, "WIDTH_SHARES", (1.0,))
        patch.setattr(shrink, "CHANNEL_SHARES", (0.25,))
        yield where
    os.chdir(before)


def quick(words):
    """The words with what makes them quick."""
    return [*words, *QUICK.get(" ".join(words[:2]), QUICK.get(words[0], []))]


def test_commands_that_install_name_what_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for line, _ in commands():
        words = shlex.split(line)
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, line
        elif words[0] == "pip":
            assert set(re.findall(r"\[(.*?)\]", line)) <= extras.keys(), line
        else:
            assert words[0] in ("penjing", "git", "cd", "python"), line


def test_every_penjing_command_of_the_page_does_what_it_says(folder, capsys):
    for line, shown in commands():
        words = shlex.split(line)
        if words[0] != "penjing":
            continue
        status = cli.main(quick(words[1:]))
        said = capsys.readouterr()
        if shown.startswith("penjing: "):
            assert status == 2 and said.err.strip() == shown, f"{line}\n{said.err}"
        else:
            assert status == 0, f"{line}\n{said.err}"
        for out in re.findall(r"--out (\S+)", line):
            made = (folder / out / "README.md").exists() and (folder / out / "report.html").exists()
            assert made == (status == 0 and "--dry-run" not in line), line


def test_every_python_block_of_the_page_runs_where_the_commands_have_run(folder, capsys):
    """The same words as those of the commands: what these have made is found and not made again."""
    for block in blocks("python"):
        text = re.sub(r"(penjing\.(finetune|shrink)\(.*)\)$", r"\1, runtime=penjing.Runtime(threads=2))", block, flags=re.M)
        text = re.sub(r"(penjing\.shrink\(.*)\)$", r"\1, epochs=1, candidates=1)", text, flags=re.M)
        exec(compile(text, "README.md", "exec"), {})
    assert capsys.readouterr().err.count("is already done") == 2


def test_the_recipe_of_the_page_is_one():
    (recipe,) = blocks("toml")
    steps = [table for table in tomllib.loads(recipe).values() if isinstance(table, dict)]
    assert all("stage" in step and "model" in step for step in steps)


def test_every_folder_of_the_tree_on_the_page_is_there_and_none_is_left_out():
    (tree,) = re.findall(r"^    penjing/\n(.*?)\n\n", README, re.M | re.S)
    named = set(re.findall(r"^ +(\S+?)/ ", tree, re.M))
    there = {path.name for path in (ROOT / "src" / "penjing").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert there <= named
    assert all((ROOT / name).is_dir() or (ROOT / "src" / name).is_dir() or (ROOT / "src" / "penjing" / name).is_dir() for name in named)


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file(page):
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.M | re.S))
    for link in links:
        assert "://" in link or (path.parent / link).exists(), f"{page}: {link}"
