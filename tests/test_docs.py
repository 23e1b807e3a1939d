"""The examples of docs/adding.md are put into a copy of the package and must work by being there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_reviews

ROOT = Path(__file__).parents[1]
TRY = '''
import json, sys
from pathlib import Path
import penjing
from penjing.core import find
from penjing.core.model_dir import ModelDir
from penjing.core.options import build, flags
from penjing.stages.predict import predict

runtime = penjing.Runtime(threads=2, quiet=True)
pairs, quick = Path("pairs.csv"), {"epochs": 2, "learning_rate": 1e-3, "precision": "fp32", "runtime": runtime}
found = {kind: find.names(kind) for kind in ("tasks", "families", "methods.distill")}
text, report = penjing.finetune("new:bert-tiny", pairs, task="text-pair-classification", out="text", **quick)
answers = predict(text, [str(pairs)], runtime=runtime)
image, _ = penjing.finetune("new:mlp-mini", "sklearn:digits", task="image-classification", out="image", **{**quick, "epochs": 4})
child, taught = penjing.distill(image, "sklearn:digits", student="new:mlp-tiny", method="logit-regression", out="child", **{**quick, "epochs": 4})
small, pruned = penjing.prune(image, "sklearn:digits", method="channels", keep_share=0.5, out="small", **quick)
options = find.find("methods.distill", "logit-regression").Options
print(json.dumps({
    "found": found, "task": text.task, "answers": sorted({a["value"] for a in answers}), "num_answers": len(answers),
    "child": taught.after["accuracy"].value, "hidden": small.config["hidden"], "pruned": pruned.after["accuracy"].value,
    "code": (small.path / "mlp.py").exists(), "baseline": report.baseline, "defaults": build(options, {}) == options(),
    "about": [flag.about for flag in flags(options)],
}))
'''


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
    assert tried["child"] > 0.5 and tried["defaults"]
    assert tried["about"] == ["weight of the teacher's logits, the rest is the true labels'"]


@pytest.mark.parametrize("kind", ["finetune", "distill", "prune"])
def test_what_the_page_says_of_a_kind_of_method_is_what_its_folder_says(kind):
    stated = (ROOT / "src" / "penjing" / "methods" / kind / "__init__.py").read_text("utf-8")
    signature = re.search(r"^apply\([\w, ]+\) -> \w+", stated, re.M)[0]
    assert f"`{signature}" in (ROOT / "docs" / "adding.md").read_text("utf-8")
