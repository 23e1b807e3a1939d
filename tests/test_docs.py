"""The examples of docs/adding.md are put into a copy of the package and must work by being there."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from penjing import serve
from penjing.core.find import find, names
from penjing.core.options import flags
from penjing.stages._frame import MAKERS, READERS, stage_flags
from tests.conftest import write_reviews

ROOT = Path(__file__).parents[1]
TRY = """
import json
import penjing
from penjing.core import find
from penjing.core.options import flags
from penjing.engine import measure
from penjing.stages.predict import predict

measure.RESAMPLES = 20  # intervals are not what is tested here
runtime = penjing.Runtime(threads=1, quiet=True)
quick = {"epochs": 4, "learning_rate": 1e-2, "precision": "fp32", "runtime": runtime}
text, report = penjing.finetune(
    "new:bert-tiny", "pairs.csv", task="text-pair-classification", out="text", **{**quick, "epochs": 1, "learning_rate": 1e-3}
)
answers = predict(text, ["pairs.csv"], runtime=runtime)
penjing.finetune("new:mlp-mini", "sklearn:digits", task="image-classification", out="image", **quick)
_, taught = penjing.distill("image", "sklearn:digits", student="new:mlp-tiny", method="logit-regression", out="child", **quick)
small, pruned = penjing.prune("image", "sklearn:digits", method="channels", keep_share=0.5, out="small", **quick)
print(json.dumps({
    "found": {kind: find.names(kind) for kind in ("tasks", "families", "methods.distill")},
    "task": text.task, "answers": sorted({a["value"] for a in answers}), "num_answers": len(answers), "baseline": report.baseline,
    "child": taught.after["accuracy"].value, "pruned": pruned.after["accuracy"].value,
    "hidden": small.config["hidden"], "code": (small.path / "mlp.py").exists(),
    "flags": [flag.about for flag in flags(find.find("methods.distill", "logit-regression").Options)],
}))
"""


def examples():
    """(path, source) of every python block of the page; its first line names the file."""
    blocks = re.findall(r"^```python\n# (src/penjing/\S+)\n(.*?)^```", (ROOT / "docs" / "adding.md").read_text("utf-8"), re.M | re.S)
    return dict(blocks)


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """What a process finds that imports a copy of the package with the examples in it."""
    folder = tmp_path_factory.mktemp("added")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for path, source in examples().items():
        assert not (folder / path).exists(), f"{path} is there already: the page needs another example"
        (folder / path).write_text(source, "utf-8")
    rows = write_reviews(folder / "reviews.csv", 300).read_text("utf-8").splitlines()[1:]
    pairs = [f"{text},was it good,{label}" for text, label in (row.split(",") for row in rows)]
    (folder / "pairs.csv").write_text("\n".join(["text,text_pair,label", *pairs]), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(folder / "src"), "PENJING_CACHE": str(folder / "cache")}
    done = subprocess.run([sys.executable, "-c", TRY], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_page_shows_one_example_of_each_kind():
    assert sorted(Path(path).parts[2] for path in examples()) == ["families", "methods", "tasks"]


def test_a_new_file_is_found_by_being_there(tried):
    assert "text-pair-classification" in tried["found"]["tasks"]
    assert "mlp" in tried["found"]["families"]
    assert "logit-regression" in tried["found"]["methods.distill"]


def test_the_example_task_trains_and_answers_in_its_labels(tried):
    assert tried["task"] == "text-pair-classification" and tried["baseline"] is None
    assert tried["num_answers"] == 300 and set(tried["answers"]) <= {"good", "bad"}


def test_the_example_family_is_saved_with_its_code_and_can_be_pruned(tried):
    assert tried["code"] and tried["hidden"] == [128]
    assert tried["pruned"] > 0.5


def test_the_example_method_teaches_and_its_options_are_flags(tried):
    assert tried["child"] > 0.5
    assert tried["flags"] == ["weight of the teacher's logits, the rest is the true labels'"]


@pytest.mark.parametrize("kind", ["finetune", "distill", "prune"])
def test_what_the_page_says_of_a_kind_of_method_is_what_its_folder_says(kind):
    stated = (ROOT / "src" / "penjing" / "methods" / kind / "__init__.py").read_text("utf-8")
    signature = re.search(r"^apply\([\w, ]+\) -> \w+", stated, re.M)[0]
    assert f"`{signature}" in (ROOT / "docs" / "adding.md").read_text("utf-8")


@pytest.mark.parametrize("page", ["architecture", "adding", "concepts"])
def test_flags_and_sizes_that_a_page_names_exist(page):
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    every = {flag.name for stage in (*MAKERS, *READERS, "predict") for flag in stage_flags(stage)}
    every |= {
        "out",
        "overwrite",
        "dry-run",
        "json",
        "quiet",
        "threads",
        "device",
        "seed",
        "trust-code",
        "check",
        "measure_here",
        "help",
        "set",
        "vary",
        "no-nesterov",
    }
    every |= {
        flag.name
        for kind in ("finetune", "prune", "distill", "quantize", "explain")
        for name in names(f"methods.{kind}")
        for flag in stage_flags(kind, name)
    }
    every |= {flag.name for flag in flags(find("stages", "plan").Options)}
    every |= {flag.name for flag in flags(serve.Options)}
    assert {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+)", text)} <= {name.replace("-", "_") for name in every}
    sizes = {size for family in names("families") for size in find("families", family).SIZES}
    assert set(re.findall(r"new:([a-z]+-[a-z]+)", text)) - {"mlp-tiny"} <= sizes


def test_the_reference_says_what_the_code_says():
    """Renew it by the command that stands at its top."""
    made = runpy.run_path(str(ROOT / "docs" / "make_reference.py"))["text"]()
    assert (ROOT / "docs" / "reference.md").read_text("utf-8") == f"{made}\n"
