"""What README.md shows is done here: its commands, its Python, its error, its recipe; and every link of the documents leads somewhere.

Commands go through the function that `penjing` calls, in one folder, in the order of the page; options added here cut trainings short.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx2
import numpy
import pytest
import soundfile

from penjing import cli
from penjing.core.runtime import for_children
from penjing.engine import measure
from penjing.stages import _shapes
from tests.conftest import write_reviews

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"docs/{name}.md" for name in ("architecture", "adding", "concepts", "deployment", "reference")),
]
README, CHINESE = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
ANIMALS = [("dog", "cat"), ("hen", "fox"), ("owl", "bat"), ("cow", "pig"), ("rat", "bee"), ("ant", "elk")]
QUICK = {
    "finetune": ["--threads=1"],
    "distill": ["--threads=1", "--epochs=1"],
    "prune": ["--threads=1", "--epochs=1"],
    "shrink": ["--threads=1", "--epochs=1", "--candidates=1"],
    "run digits": [
        "--threads=1",
        "--set=teacher.epochs=1",
        "--set=small.epochs=1",
        "--set=small.candidates=1",
        "--set=small.students=none",
    ],
    "run reviews.toml": ["--threads=1", "--set=teacher.epochs=1"],
    "run transfer": ["--threads=1", *(f"--set={step}.epochs=1" for step in ("scratch", "probe", "lora", "full"))],
    "quantize": ["--threads=1"],
    "pretrain": ["--threads=1"],
    "cluster": ["--threads=1"],
    "sweep": ["--threads=1", "--epochs=1"],
    "bench": ["--threads=1"],
}
"""What makes a command quick; it changes no word that the page shows."""


def blocks(language, page=README):
    """The fenced blocks of a language, without their fences."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)


def commands():
    """(command line, what the page shows below it) in the order of the page."""
    found = []
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            line, _, shown = part.partition("\n")
            found.append((line, shown.strip()))
    return found


def write_data(where):
    """The files and folders of rows that the page names."""
    words = {"good": "positive", "bad": "negative"}
    rows = [line.split(",") for line in write_reviews(where / "reviews.csv", 1000).read_text("utf-8").splitlines()[1:]]
    rows = [(text, words[label], f"author {i % 90}") for i, (text, label) in enumerate(rows)]
    few = rows[:300]

    def write(name, header, lines):
        (where / name).write_text("\n".join([header, *(",".join(line) for line in lines)]) + "\n", "utf-8")

    write("reviews.csv", "text,label,author", rows)
    write("mistyped.csv", "text,label", [(text, "postive" if i == 40 else label) for i, (text, label, _) in enumerate(rows)])  # row 42
    write("unlabelled.csv", "text", [(text,) for text, _, _ in rows])
    more = write_reviews(where / "more.csv", 200, seed=1).read_text("utf-8").splitlines()[1:]
    write("more.csv", "text", [(line.split(",")[0],) for line in more])
    write("rated.csv", "text,stars", [(text, "4.5" if label == "positive" else "1.5") for text, label, _ in few])
    tagged = [{"text": text, "tags": [label, "long"] if len(text) > 40 else [label]} for text, label, _ in few]
    (where / "tagged.jsonl").write_text("\n".join(map(json.dumps, tagged)), "utf-8")
    (where / "story.txt").write_text(
        "".join(f"Once upon a day {i} a {a} met a {b}.\n\n" for i, (a, b) in enumerate(ANIMALS * 100)), "utf-8"
    )
    told = [(i, *(f"{animal}{i * k % 97}" for k, animal in enumerate(pair, 3))) for i, pair in enumerate(ANIMALS * 20)]
    lines = {
        "questions.jsonl": [
            {"question": f"Who came on day {i}?", "context": f"{a} came late, {b} left.", "answers": {"text": [a], "answer_start": [0]}}
            for i, a, b in told
        ],
        "pairs.jsonl": [{"en": f"{a} sees {b} on day {i}.", "de": f"{a} sieht {b} am Tag {i}."} for i, a, b in told],
        "papers.jsonl": [{"abstract": f"We look at {a} and {b} in {i}. It works.", "title": f"On {a}"} for i, a, b in told],
    }
    for name, rows_of in lines.items():
        (where / name).write_text("\n".join(map(json.dumps, rows_of)), "utf-8")
    for word, pitch in (("yes", 440.0), ("no", 880.0)):
        (where / "commands" / word).mkdir(parents=True)
        for number in range(30):
            tone = numpy.sin(numpy.arange(4000) * 2 * numpy.pi * (pitch + number) / 8000)
            soundfile.write(where / "commands" / word / f"{number}.wav", tone.astype("float32"), 8000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the files that the page speaks of; intervals from few resamples, and few shapes to search."""
    where = tmp_path_factory.mktemp("readme")
    write_data(where)
    (recipe,) = blocks("toml")
    (where / "reviews.toml").write_text(recipe, "utf-8")
    before = Path.cwd()
    os.chdir(where)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "RESAMPLES", 20)
        patch.setattr(_shapes, "SHARES", {"layers": (0.5,), "ffn": ()})
        patch.setattr(_shapes, "WIDTHS", {})
        patch.setattr(_shapes, "CHANNEL_SHARES", (0.25,))
        yield where
    os.chdir(before)


def quick(words):
    """The words with what makes them quick."""
    again = ["--no-quantize"] if {"--folds", "--floor-agreement"} & {*words} else []  # shrink has been shown with int8 before
    trains = not ("prune" in words and "vocabulary" in words)
    return [*words, *(QUICK.get(" ".join(words[:2]), QUICK.get(words[0], [])) if trains else []), *again]


def test_commands_that_install_name_what_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for line, _ in commands():
        words = shlex.split(line)
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, line
        elif words[0] == "pip":
            assert set(re.search(r"\[(.*?)\]", line)[1].split(",")) <= extras.keys(), line
        else:
            assert words[0] in ("penjing", "git", "cd", "python", "curl"), line


@pytest.mark.parametrize("language", ["console", "python", "toml"])
def test_the_chinese_page_shows_the_same_commands_and_code(language):
    assert blocks(language, CHINESE) == blocks(language)


@contextlib.contextmanager
def served(words, log):
    """The address of `penjing serve` in a process of its own, on a free port."""
    command = [sys.executable, "-m", "penjing", *words, "--port=0", "--threads=1"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=for_children())
    try:
        while not (found := re.search(r"at http://(\S+)\n", log.read_text("utf-8"))):
            assert process.poll() is None, log.read_text("utf-8")
            time.sleep(0.1)
        yield found[1]
    finally:
        process.terminate()
        assert process.wait(60) == 0


def posted(words, address):
    """What a line of curl gets from the server at `address`; its own is that of the page."""
    (url,) = (word for word in words if word.startswith("localhost:8000"))
    told = httpx2.post("http://" + url.replace("localhost:8000", address), content=words[words.index("-d") + 1], timeout=60)
    assert told.status_code == 200, told.text
    return told.json()


def test_every_command_of_the_page_does_what_it_says(folder, capsys):
    with contextlib.ExitStack() as stack:
        do_commands(folder, capsys, stack)


def do_commands(folder, capsys, stack):
    """Each command of the page, in its order; what serves goes on until `stack` ends."""
    address = ""
    for line, shown in commands():
        words = shlex.split(line)
        if words[1] == "serve":
            address = stack.enter_context(served(words[1:], Path("serve.log")))
            continue
        if words[0] == "curl":
            assert posted(words, address), line
        if words[0] != "penjing":
            continue
        status = cli.main(quick(words[1:]))
        said = capsys.readouterr()
        if shown.startswith("penjing: "):
            assert status == 2 and said.err.strip() == shown, f"{line}\n{said.err}"
        else:
            assert status == 0, f"{line}\n{said.err}"
        for out in re.findall(r"--out (\S+)", line) if words[1] != "sweep" else ["models/sweep/best"]:
            page = out.endswith(".html")
            made = (folder / out).exists() if page else all((folder / out / name).exists() for name in ("README.md", "report.html"))
            assert made == (status == 0 and "--dry-run" not in line), line


def test_every_python_block_of_the_page_runs_where_the_commands_have_run(folder, capsys):
    """The same words as those of the commands: what these have made is found and not made again."""
    for block in blocks("python"):
        text = re.sub(r"(penjing\.(finetune|shrink)\(.*)\)$", r"\1, runtime=penjing.Runtime(threads=1))", block, flags=re.M)
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
