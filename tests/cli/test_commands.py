"""Every command on its good days: what it prints, what it writes, and that it stops cleanly."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest
from PIL import Image

from penjing import cli
from penjing.core import progress
from penjing.core.model_dir import ModelDir
from penjing.core.report import Report
from penjing.engine import measure

QUICK = ("--threads=1", "--quiet")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Intervals by a bootstrap are not what these tests are about."""
    monkeypatch.setattr(measure, "RESAMPLES", 20)


def test_listings_name_what_there_is(ask):
    assert "text-classification" in ask("tasks").out
    assert "new:resnet-mini" in ask("families").out
    assert "prune --method layers" in ask("methods").out
    assert ask("--version").out.startswith("penjing ")
    assert ask().out == ask("--help").out == ask("-h").out
    assert all(name in ask().out for name in cli.COMMANDS)


def test_check_tells_task_roles_labels_and_floors(ask, reviews):
    said = ask("check", reviews).out
    assert "1,000 rows for text-classification" in said and "train 701, tune 89, proof 210" in said
    assert "labels  bad   " in said and " 502\n" in said and "good  " in said and " 498\n" in said
    assert "5.0 points: 167 proof rows needed at 5% flips, provable" in said
    found = json.loads(ask("check", reviews, "--json").out)
    verdicts = {floor["floor"]: floor["verdict"] for floor in found["floors"]}
    assert (verdicts[1.0], verdicts[2.0], verdicts[5.0]) == ("too few rows", "a good child may fail by bad luck", "provable")


def test_check_lists_bad_rows_repeated_rows_and_labels_that_contradict_each_other(ask, tmp_path):
    """The official proof rows give away no label: their contradictions are not told."""
    (tmp_path / "rows").mkdir()
    tables = {"train": "one,a\ntwo,a\nThree!,b\ntwo.,b\nfour\n", "validation": "five,a\n", "test": "six,b\nthree,a\nsix,a\n,a\n"}
    for name, content in tables.items():
        (tmp_path / "rows" / f"{name}.csv").write_text("text,label\n" + content)
    found = json.loads(ask("check", "rows", "--json").out)
    assert found["bad"] == ["rows/train.csv, row 6: 1 values, the header names 2", "rows/test.csv, row 5: text is empty"]
    assert (found["num_rows"], found["num_bad"], found["num_repeated"], found["num_left_out"]) == (8, 2, 3, 1)
    assert found["crossing"] == [["rows/train.csv, row 4", "rows/test.csv, row 3"]]
    assert found["conflicts"] == [{"rows": ["rows/train.csv, row 3", "rows/train.csv, row 5"], "labels": ["a", "b"]}]
    assert found["labels"] == {"a": 5, "b": 3} and found["num_conflicts"] == 1
    said = ask("check", "rows").out
    for part in ("2 rows cannot be used", "row 4  is also  rows/test.csv, row 3", "row 3 'a'  but  rows/train.csv, row 5 'b'", "--folds 5"):
        assert part in said


def test_check_takes_task_and_head_from_the_columns_unless_told_otherwise(ask, tmp_path):
    def written(name, value):
        (tmp_path / name).write_text("".join(json.dumps({"text": f"word {i}", "label": value(i)}) + "\n" for i in range(40)))
        return json.loads(ask("check", name, "--json").out)

    assert written("a.jsonl", lambda i: i / 8)["numbers"]["high"] <= 39 / 8
    assert written("b.jsonl", lambda i: ["x"] * (i % 2))["head"] == "many-labels"
    assert (found := written("c.jsonl", lambda i: i))["head"] == "one-label" and len(found["labels"]) == 40
    assert "most rows have a label of their own; where these are numbers: --head number" in ask("check", "c.jsonl").out
    assert json.loads(ask("check", "c.jsonl", "--head=number", "--json").out)["head"] == "number"
    assert "--head cannot be 'nummer'" in ask("check", "c.jsonl", "--head=nummer").err
    assert "'text-classification'" in ask("check", "c.jsonl", "--task=text-classifcation").err


def test_predict_takes_text_files_and_standard_input(ask, tmp_path, text_parent, monkeypatch):
    assert [line.split("\t")[0] for line in ask("predict", text_parent, "lovely warm", "dull cold").out.splitlines()] == ["good", "bad"]
    (tmp_path / "rows.csv").write_text("sentence,more\nlovely warm,x\ndull cold,y\n")
    said = ask("predict", text_parent, "rows.csv", "--columns", "text=sentence", "--json").out
    answers = [json.loads(line) for line in said.splitlines()]
    assert [a["value"] for a in answers] == ["good", "bad"] and [a["input"] for a in answers] == ["rows.csv, row 2", "rows.csv, row 3"]
    assert all(0.5 < a["score"] <= 1 for a in answers)
    (tmp_path / "notes.txt").write_text("lovely warm\n\ndull cold\n")
    assert ask("predict", text_parent, "notes.txt").out.count("\n") == 2
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"splendid bright\n\nawful broken\n")))
    assert [line.split("\t")[0] for line in ask("predict", text_parent, "-").out.splitlines()] == ["good", "bad"]
    assert ask("predict", text_parent, "lovely " * 100).out.startswith("good")  # longer than a file name may be


def test_explain_tells_which_words_decide_and_writes_a_page_of_it(ask, tmp_path, text_parent):
    said = ask("explain", text_parent, "the splendid room", "--out", "why.html")
    assert said.status == 0 and said.out.startswith("good ") and "wrote why.html" in said.out
    assert re.search(r"\n  splendid +[+-]", said.out)
    page = (tmp_path / "why.html").read_text("utf-8")
    assert "splendid</span>" in page and "<script" not in page and not re.search(r'(href|src)="(?!#|data:)', page)
    (tmp_path / "rows.csv").write_text("text\nlovely warm film\n这家酒店 dull\n<b>awful</b>\n", "utf-8")
    said = ask("explain", text_parent, "rows.csv", "--method", "occlusion", "--json", "--out", "rows.html")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert [row["input"] for row in found] == ["rows.csv, row 2", "rows.csv, row 3", "rows.csv, row 4"]
    assert [unit["text"] for unit in found[1]["units"]] == ["这", "家", "酒", "店", "dull"]
    assert all("这家酒店 dull"[u["start"] : u["end"]] == u["text"] for u in found[1]["units"])
    assert found[0]["faithfulness"]["shares"][-1] == 1 and found[0]["completeness_gap"] is None
    assert "<b>awful" not in (tmp_path / "rows.html").read_text("utf-8")
    assert "All rows" in (tmp_path / "rows.html").read_text("utf-8")


def test_explain_takes_images(ask, tmp_path, image_parent):
    said = ask("explain", image_parent, "sklearn:digits", "--most=2", "--method=grad-cam", "--out=why.html", "--json", "--trust-code")
    found = [json.loads(line) for line in said.out.splitlines()]
    assert len(found) == 2 and len(found[0]["units"]) == 64 and "row" in found[0]["units"][0]
    assert min(unit["score"] for unit in found[0]["units"]) >= 0
    assert (tmp_path / "why.html").read_text("utf-8").count("<image") == 2


def test_a_word_that_looks_like_a_file_is_read_as_text_with_a_notice(ask, text_parent):
    said = ask("predict", text_parent, "rows.cvs")
    assert said.status == 0 and "rows.cvs is no file here, so it is read as text" in said.err


def test_predict_takes_images_and_folders_of_them(ask, tmp_path, image_parent):
    for label in "38":
        (tmp_path / "rows" / label).mkdir(parents=True)
        Image.fromarray(numpy.full((8, 8), 9, numpy.uint8)).save(tmp_path / "rows" / label / "1.png")
    assert ask("predict", image_parent, "rows/3/1.png").out.endswith("rows/3/1.png\n")
    assert ask("predict", image_parent, "rows").out.count("\n") == 2


def test_evaluate_and_compare_print_for_people_and_for_programs(ask, reviews, text_parent):
    said = ask("evaluate", text_parent, reviews, *QUICK)
    assert said.out.startswith("Accuracy ") and "210 proof rows" in said.out and said.err == ""
    found = json.loads(ask("compare", text_parent, text_parent, reviews, "--floor=5", "--json", *QUICK).out)
    assert found["facts"]["proof"]["passed"] and found["facts"]["proof"]["loss"] == 0
    assert found["data"]["proof_opened"] >= 3


def test_card_shows_one_directory_or_the_difference_of_two(ask, text_parent, image_parent):
    assert "89 tuning rows" in ask("card", text_parent).out
    assert "cannot be compared" in ask("card", text_parent, image_parent).out
    assert json.loads(ask("card", text_parent, "--json").out)["stage"] == "finetune"
    assert [found["stage"] for found in json.loads(ask("card", text_parent, image_parent, "--json").out)] == ["finetune"] * 2


MAKERS = [
    ("finetune", "--epochs=2"),
    ("distill", "--student=new:bert-tiny", "--epochs=2"),
    ("prune", "--method=layers", "--epochs=2"),
    ("quantize",),
    ("shrink", "--floor=5", "--candidates=2", "--epochs=2"),
]


@pytest.mark.parametrize("words", MAKERS, ids=lambda words: words[0])
def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(ask, tmp_path, reviews, text_parent, words):
    given = (words[0], text_parent, reviews, *words[1:], "--out=deep/made", "--dry-run", *QUICK)
    said = ask(*given).out
    assert "701 train, 89 tune, 210 proof rows" in said and "would write deep/made" in said
    assert ("about 44 steps a training" in said) == (words[0] != "quantize")
    assert ("provable" in said) == (words[0] == "shrink")
    found = json.loads(ask(*given, "--json").out)
    assert found["data"]["rows"] == {"train": 701, "tune": 89, "proof": 210} and not found["done"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_done_again_and_is_replaced_only_when_asked(ask, tmp_path, reviews, text_parent):
    given = ("prune", text_parent, reviews, "--method=layers", "--epochs=0", "--threads=1", "--out=made")
    first = ask(*given)
    assert first.out.endswith("wrote made; look at made/report.html\n") and "already" not in first.err
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "made").iterdir()}
    second = ask(*given)
    assert second.out == first.out and second.err == "made is already done\n"
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "made").iterdir()} == before
    assert "made is already done: nothing would be done" in ask(*given, "--dry-run").out
    assert ask(*given, "--keep-share=1").status == 2
    assert json.loads(ask(*given, "--keep-share=1", "--overwrite", "--json").out)["options"]["keep_share"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_damaged_output_is_made_again_when_it_may_be_replaced(ask, tmp_path, reviews, text_parent):
    shutil.copytree(text_parent, tmp_path / "made")
    (tmp_path / "made" / "penjing.json").write_text("?")
    given = ("finetune", text_parent, reviews, "--epochs=0", "--out=made", *QUICK)
    assert ask(*given).status == 2
    assert ask(*given, "--overwrite").status == 0
    assert ModelDir.open(tmp_path / "made").lineage[-1]["options"] == {"epochs": 0.0}


def test_tables_of_every_format_give_the_same_roles(ask, tmp_path, reviews):
    table = [line.split(",") for line in Path(reviews).read_text().splitlines()[1:]]
    columns = {"text": [text for text, _ in table], "label": [label for _, label in table]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in table))
    for name in ("rows.parquet", "rows.jsonl"):
        assert "train 701, tune 89, proof 210" in ask("check", name).out


def test_progress_is_plain_lines_where_there_is_no_terminal(ask, reviews, text_parent, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    said = ask("finetune", text_parent, reviews, "--epochs=0.2", "--threads=1", "--out=made").err
    assert "training: 3 of 5, " in said and "loss " in said and "\r" not in said and "\x1b" not in said


def test_a_reader_that_goes_away_ends_the_command_quietly():
    with subprocess.Popen([sys.executable, "-m", "penjing", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_training_that_is_interrupted_or_killed_leaves_the_old_output_whole(ask, tmp_path, reviews, text_parent):
    """Ctrl-C leaves a checkpoint, kill -9 what had not yet been saved. Both trainings would go on for an hour."""
    shutil.copytree(text_parent, tmp_path / "old")
    sha256 = ModelDir.open(text_parent).sha256()
    running = {}
    for name, words in {"new": [], "old": ["--overwrite"]}.items():
        command = [
            sys.executable,
            "-m",
            "penjing",
            "finetune",
            text_parent,
            reviews,
            f"--out={name}",
            "--epochs=9999",
            "--threads=1",
            *words,
        ]
        running[name] = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    for process in running.values():
        assert "on 701 rows" in process.stderr.readline()
    assert (tmp_path / ".new.partial").exists() and (tmp_path / ".old.partial").exists()
    running["new"].send_signal(signal.SIGINT)
    running["old"].kill()
    said = {name: process.communicate()[1] for name, process in running.items()}
    assert running["new"].returncode == 130 and running["old"].returncode == -signal.SIGKILL
    assert said["new"].splitlines()[-1].startswith("penjing: stopped") and "Traceback" not in said["new"]
    assert {".old.partial", "old"} <= {path.name for path in tmp_path.iterdir()} <= {".old.partial", "old", ".new.partial"}
    assert ModelDir.open(tmp_path / "old").sha256() == sha256
    assert ask("finetune", text_parent, reviews, "--out=old", "--overwrite", "--epochs=0.1", *QUICK).status == 0
    assert not (tmp_path / ".old.partial").exists() and not (tmp_path / "new").exists()
    assert ModelDir.open(tmp_path / "old").sha256() != sha256 and Report.read(tmp_path / "old").stage == "finetune"
