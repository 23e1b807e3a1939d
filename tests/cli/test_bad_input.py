"""Whatever is wrong with a command is said in three parts before anything expensive, exits 2, and leaves nothing half-written."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import transformers
from PIL import Image

from penjing.core.data import Data, DataOptions
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.engine import load
from penjing.stages._frame import prepare
from penjing.tasks.text_classification import TextClassification
from tests.conftest import write_reviews

GOOD = "text,label\nfine,good\npoor,bad\n"
NEW_TEXT = ("finetune", "new:bert-tiny", "rows.csv", "--task", "text-classification", "--out", "made")
NEW_IMAGE = ("finetune", "new:resnet-tiny", "rows", "--task", "image-classification", "--out", "made")


@pytest.fixture
def copy(tmp_path, text_parent, image_parent):
    """A model directory of one's own, to be damaged: copy("text") makes the folder text."""

    def made(kind, name=None):
        shutil.copytree({"text": text_parent, "image": image_parent}[kind], tmp_path / (name or kind))
        return tmp_path / (name or kind)

    return made


TABLES = {
    "a missing column": ("words,label\nfine,good\n", ["rows.csv: no column 'text'", "'words'", "--columns text="]),
    "a misspelt column": ("text,lable\nfine,good\n", ["rows.csv: no column 'label'", "'lable'", "--columns label="]),
    "an empty file": ("", ["rows.csv: the file is empty", "a file with rows"]),
    "only a header": ("text,label\n", ["rows.csv: only a header, no rows", "below the header"]),
    "a ragged row": (GOOD + "well,good,very\n", ["rows.csv, row 4: 3 values, the header names 2", "2 values a row", "quotes"]),
    "an open quote": (GOOD + '"well,good\nso,bad\n', ["rows.csv, row 4: a quote is opened and never closed", "close it"]),
    "wrong encoding": (GOOD.encode() + "très bon,good\n".encode("latin1"), ["rows.csv, row 4, byte 32", "UTF-8", "iconv -f latin1"]),
    "an empty value": (GOOD + ",good\n", ["rows.csv, row 4: text is empty", "take it out"]),
    "one label": (
        "text,label\n" + "".join(f"word {i},good\n" for i in range(40)),
        ["rows.csv: every training row", "'good'", "two labels"],
    ),
    "too few rows": ("text,label\nfine 4,good\npoor 4,bad\n", ["rows.csv: no tune rows among 2", "at least one", "more rows"]),
}


@pytest.mark.parametrize("content, parts", TABLES.values(), ids=TABLES)
def test_a_table_that_will_not_do_is_refused_with_file_row_and_column(refused, tmp_path, content, parts):
    (tmp_path / "rows.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(NEW_TEXT, *parts)


def test_a_label_the_model_does_not_know_is_named_with_the_nearest(refused, tmp_path, text_parent):
    (tmp_path / "rows.csv").write_text(GOOD + "well,goood\n")
    for command in ("finetune", "prune", "quantize", "shrink"):
        refused((command, text_parent, "rows.csv", "--out", "made"), "rows.csv, row 4, column label: label 'goood'", "'good'", "--new-head")
    refused(("evaluate", text_parent, "rows.csv"), "rows.csv, row 4, column label: label 'goood'", "'good'", "--new-head")


def test_a_label_that_no_training_row_has_is_named(refused, tmp_path):
    for name in ("train", "validation", "test"):
        (tmp_path / "rows.csv").mkdir(exist_ok=True)
        rows = f"text,label\nfine {name},good\npoor {name},bad\n" + ("odd,rare\n" if name == "test" else "")
        (tmp_path / "rows.csv" / f"{name}.csv").write_text(rows)
    refused(NEW_TEXT, "rows.csv/test.csv, row 4, column label: label 'rare' is in no training row", "'good'", "add rows like it")


def test_json_lines_name_the_line(refused, tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"text": "fine", "label": "good"}\n{"text": "fine", }\n')
    refused([*NEW_TEXT[:2], "rows.jsonl", *NEW_TEXT[3:]], "rows.jsonl, line 2: not JSON", "one object a line")


def test_an_image_that_cannot_be_read_is_named(refused, tmp_path):
    for label in ("dark", "light"):
        (tmp_path / "rows" / label).mkdir(parents=True)
        for number in range(9):
            Image.fromarray(numpy.full((8, 8), number, numpy.uint8)).save(tmp_path / "rows" / label / f"{number}.png")
    (tmp_path / "rows" / "light" / "3.png").write_bytes(b"not an image")
    refused(NEW_IMAGE, "rows/light/3.png: damaged image", "a complete PNG", "take out the row")
    (tmp_path / "rows" / "list.csv").write_text("image,label\ndark/0.png,dark\ndark/10.png,dark\n")
    refused([*NEW_IMAGE[:2], "rows/list.csv", *NEW_IMAGE[3:]], "list.csv, row 3: image 'dark/10.png' names no file")


PATHS = {
    "a mistyped path": ("rows.cvs", ["no file or folder 'rows.cvs'", "'rows.csv'", "correct the path"]),
    "a path in no folder": ("nowhere/rows.csv", ["no file or folder", "correct the path"]),
    "the hub": ("hf:stanfordnlp/sst2", ["data are not fetched from the hub", "download"]),
    "no table": ("rows.bin", ["rows.bin: not a file of rows", ".parquet"]),
    "a folder of nothing": ("empty", ["nothing to read in this folder", "one folder of images or sounds a class"]),
    "other digits": ("sklearn:iris", ["no data called 'sklearn:iris'", "sklearn:digits"]),
}


@pytest.mark.parametrize("path, parts", PATHS.values(), ids=PATHS)
def test_data_that_are_not_there_are_refused(refused, tmp_path, path, parts):
    (tmp_path / "rows.csv").write_text(GOOD)
    (tmp_path / "rows.bin").write_bytes(b"\0")
    (tmp_path / "empty").mkdir()
    refused([*NEW_TEXT[:2], path, *NEW_TEXT[3:]], *parts)
    refused(["check", path], *parts)


def test_columns_that_fit_no_task_are_listed_and_renaming_them_is_checked(refused, ask, tmp_path):
    (tmp_path / "rows.csv").write_text("sentence,mood\n" + "".join(f"word {i},{'good' if i % 2 else 'bad'}\n" for i in range(40)))
    refused(("check", "rows.csv"), "no task fits its columns 'mood', 'sentence'", "text-classification: text, label", "--columns")
    refused(("check", "rows.csv", "--columns", "text=sentense,label=mood"), "no column 'sentense'", "'sentence'")
    refused(("check", "rows.csv", "--columns", "text"), "--columns cannot be 'text'", "text=sentence")
    assert "40 rows" in ask("check", "rows.csv", "--columns", "text=sentence,label=mood").out


MODELS = {
    "not there": ("texxt", lambda folder: None, ["texxt does not exist", "'text'", "correct the path"]),
    "no directory": ("text/config.json", lambda folder: None, ["is not a model directory", "save_pretrained"]),
    "no config": ("text", lambda folder: (folder / "config.json").unlink(), ["it has no config.json", "save_pretrained"]),
    "the hub": ("hf:google/bert", lambda folder: None, ["hf:google/bert is not in the cache", "HF_HUB_OFFLINE forbids", "network, once"]),
    "no name on the hub": ("hf:google/bert/x", lambda folder: None, ["hf:google/bert/x is no name of a model", "hf:org/name", "correct"]),
    "a missing shard": ("text", lambda folder: lose_shard(folder), ["model-00002-of-00002.safetensors is missing", "copy"]),
    "damaged config": ("text", lambda folder: (folder / "config.json").write_text("{"), ["config.json is damaged", "copy the directory"]),
    "config of no object": ("text", lambda folder: (folder / "config.json").write_text("[]"), ["config.json is damaged", "no object"]),
    "damaged penjing.json": ("text", lambda folder: (folder / "penjing.json").write_text("?"), ["penjing.json is damaged", "copy"]),
    "a later schema": ("text", lambda folder: change_meta(folder, schema=99), ["a later penjing (schema 99)", "pip install --upgrade"]),
    "changed weights": ("text", lambda folder: damage(folder), ["the weights are not those that penjing.json records", "sha256", "copy"]),
    "half the weights": ("text", lambda folder: halve(folder), ["text: transformers cannot load it"]),
    "no weights": ("text", lambda folder: (folder / "model.safetensors").unlink(), ["text holds no weights", "model.safetensors"]),
    "a pickle": ("text", lambda folder: pickle(folder), ["pytorch_model.bin is a pickle, which can run code", "save_pretrained"]),
    "no tokenizer": ("text", lambda folder: lose_tokenizer(folder), ["text holds no tokenizer", "tokenizer.json", "copy the"]),
    "half a tokenizer": ("text", lambda folder: lose_tokenizer(folder, "tokenizer.json"), ["its tokenizer has no vocabulary", "copy"]),
    "no task": ("text", lambda folder: forget_task(folder), ["does not say which task it is for", "text-classification"]),
    "no labels": ("text", lambda folder: forget_labels(folder), ["does not name its labels", "id2label"]),
}


def change_meta(folder, **facts):
    meta = json.loads((folder / "penjing.json").read_text())
    (folder / "penjing.json").write_text(json.dumps({**meta, **facts}))


def damage(folder):
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def halve(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    ModelDir(folder, json.loads((folder / "penjing.json").read_text())).record()


def pickle(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def lose_shard(folder):
    change_meta(folder, weights={})
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def lose_tokenizer(folder, names="tokenizer*"):
    for path in folder.glob(names):
        path.unlink()


def forget_task(folder):
    """An encoder as transformers writes it."""
    (folder / "penjing.json").unlink()
    config = transformers.AutoConfig.from_pretrained(folder)
    config.architectures = ["BertModel"]
    config.save_pretrained(folder)


def forget_labels(folder):
    (folder / "penjing.json").unlink()
    config = transformers.AutoConfig.from_pretrained(folder)
    config.id2label = {i: f"LABEL_{i}" for i in range(2)}
    config.save_pretrained(folder)


@pytest.mark.parametrize("path, change, parts", MODELS.values(), ids=MODELS)
def test_a_directory_that_will_not_do_is_refused(refused, copy, reviews, path, change, parts):
    change(copy("text"))
    refused(("evaluate", path, reviews, "--threads=1"), *parts)
    refused(("predict", path, "a fine film", "--threads=1"), *parts[:1])


def test_a_pickle_beside_the_weights_is_not_opened(ask, copy, tmp_path):
    (copy("text") / "pytorch_model.bin").write_bytes(b"\x80\x04would be run")
    assert ask("predict", "text", "lovely lovely lovely").out.startswith("good")


def test_the_code_of_a_tokenizer_is_neither_run_nor_asked_about(ask, copy):
    """transformers would ask on standard input whether to run it."""
    config = json.loads((copy("text") / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["mine.Mine", None]}, "tokenizer_class": "Mine"}
    Path("text", "tokenizer_config.json").write_text(json.dumps(config))
    Path("text", "mine.py").write_text("raise SystemExit('this code was run')")
    assert ask("predict", "text", "lovely lovely lovely").out.startswith("good")


def test_code_of_strangers_runs_only_when_the_user_says_so(refused, ask, copy, tmp_path):
    folder = copy("image")
    change_meta(folder, weights={})
    for name in ("resnet.py", "config.json"):
        (folder / name).write_text((folder / name).read_text().replace("penjing_resnet", "strange_resnet"))
    with (folder / "resnet.py").open("a") as code:
        code.write(f"\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    refused(("predict", "image", "sklearn:digits"), "resnet.py is code that is not penjing's own", "--trust-code")
    assert ask("predict", "image", "sklearn:digits", "--trust-code", "--quiet").status == 0
    assert (tmp_path / "ran").exists()


def test_an_artefact_cannot_be_trained_and_its_parent_is_named(refused, copy, reviews, text_parent):
    meta = json.loads((copy("text") / "penjing.json").read_text())
    ModelDir(Path("text"), meta).record(engine="onnxruntime", lineage=[{"stage": "quantize", "parent": {"path": "models/whole"}}])
    parts = ["text is an artefact of onnxruntime", "model.safetensors", "its parent, models/whole"]
    for words in (["finetune"], ["prune"], ["quantize"], ["shrink"], ["distill", "--student=new:bert-tiny"]):
        refused((words[0], "text", reviews, "--out", "made", *words[1:]), *parts)
    refused(("distill", text_parent, reviews, "--out", "made", "--student", "text"), *parts)


def test_models_of_other_tasks_and_labels_are_not_mixed(refused, copy, tmp_path, reviews, text_parent, image_parent):
    change_meta(copy("text"), labels=["bad", "fine"])
    for words in ((text_parent, "text"), (text_parent, text_parent, "--reasons", "--noise-floor=text")):
        refused(("compare", *words, reviews), "text answers with other labels than", "['bad', 'good']")
    given = ("finetune", text_parent, "sklearn:digits", "--out", "made", "--task", "image-classification")
    refused(given, "was made for text-classification, not for image-classification", "--task")
    refused(("predict", image_parent, "hello"), "no file 'hello', and this model reads images", "path of a file")
    (tmp_path / "x.png").write_bytes(b"x")
    refused(("predict", text_parent, "x.png"), "x.png is an image, and this model reads text")


T = "TEXT"
WORDS = {
    "no command": (["finetun"], ["no command 'finetun'", "'finetune'", "penjing --help"]),
    "options first": (["--quiet", "finetune"], ["no command before '--quiet'", "behind the command"]),
    "nothing else": (["finetune"], ["MODEL, DATA must be given", "penjing finetune MODEL DATA"]),
    "no rows": (["finetune", T], ["DATA must be given"]),
    "one word too many": (["evaluate", T, "rows.csv", "more.csv"], ["'more.csv' is one word too many", "MODEL DATA"]),
    "no output": (["finetune", T, "rows.csv"], ["--out must be given", "directory"]),
    "a mistyped flag": (["finetune", T, "rows.csv", "--epoch=3"], ["no option '--epoch=3'", "'--epochs'", "finetune --help"]),
    "a flag cut short": (["finetune", T, "rows.csv", "--learn", "3"], ["no option '--learn'"]),
    "a flag without value": (["finetune", T, "rows.csv", "--epochs"], ["--epochs must have a value"]),
    "no number": (["finetune", T, "rows.csv", "--epochs=x"], ["--epochs cannot be 'x'", "a number, 0 to 10,000", "finetune --help"]),
    "below its range": (["finetune", T, "rows.csv", "--epochs=-1"], ["--epochs cannot be '-1'", "0 to 10,000"]),
    "no whole number": (
        ["finetune", T, "rows.csv", "--batch-rows=1.5"],
        ["--batch-rows cannot be '1.5'", "a whole number, 1 to 1,000,000"],
    ),
    "infinite": (["finetune", T, "rows.csv", "--batch-rows=inf"], ["--batch-rows cannot be 'inf'"]),
    "not a choice": (["finetune", T, "rows.csv", "--optimizer=adam"], ["--optimizer cannot be 'adam'", "'adamw' or 'sgd' or 'muon'"]),
    "nothing to vary": (["sweep", T, "rows.csv"], ["--vary must be given", "--vary OPTION=VALUE,VALUE"]),
    "no values to vary": (["sweep", T, "rows.csv", "--vary", "epochs"], ["--vary cannot be 'epochs'", "OPTION=VALUE,VALUE"]),
    "a gap in the values": (["sweep", T, "rows.csv", "--vary", "epochs=1,,2"], ["--vary epochs cannot be ''", "EPOCHS"]),
    "values that are not joined": (
        ["sweep", T, "rows.csv", "--vary", "optimizer:momentum=sgd:0,adamw"],
        ["--vary optimizer:momentum cannot be 'adamw'", "OPTIMIZER:MOMENTUM"],
    ),
    "varied twice": (["sweep", T, "rows.csv", "--vary", "epochs=1", "--vary", "epochs=2"], ["--vary has epochs twice", "one --vary"]),
    "varied and given": (["sweep", T, "rows.csv", "--vary", "epochs=1,2", "--epochs=3"], ["--epochs is varied and given too", "leave"]),
    "no such option to vary": (["sweep", T, "rows.csv", "--vary", "epoch=1,2"], ["no option --epoch (variant epoch 1)", "'--epochs'"]),
    "no such value to vary": (
        ["sweep", T, "rows.csv", "--vary", "optimizer=sgd,momentum"],
        ["--optimizer cannot be 'momentum' (variant optimizer momentum)", "'adamw' or 'sgd' or 'muon'"],
    ),
    "the same twice": (["sweep", T, "rows.csv", "--vary", "epochs=1,1.0"], ["two variants are the same: epochs 1.0", "that differ"]),
    "too many variants": (
        ["sweep", T, "rows.csv", "--vary", "epochs=1,2,3,4,5,6,7,8", "--vary", "patience=1,2,3,4,5,6,7"],
        ["--vary makes 56 variants", "at most 50", "fewer"],
    ),
    "seeds": (["sweep", T, "rows.csv", "--vary", "epochs=1,2", "--seeds=0"], ["--seeds cannot be '0'", "a whole number, 1 to 20"]),
    "a sweep of cross-fits": (["sweep", T, "rows.csv", "--vary", "epochs=1,2", "--folds=3"], ["no option '--folds=3'"]),
    "no share": (["prune", T, "rows.csv", "--keep-share=2"], ["--keep-share cannot be '2'", "0.01 to 1"]),
    "no floor": (["shrink", T, "rows.csv", "--floor=0"], ["--floor cannot be '0'", "points such as 1.0 or a share such as 3%"]),
    "no size": (["shrink", T, "rows.csv", "--max-bytes=4QB"], ["--max-bytes cannot be '4QB'", "500kB"]),
    "no time": (["shrink", T, "rows.csv", "--budget=soon"], ["--budget cannot be 'soon'", "90s"]),
    "threads": (["evaluate", T, "rows.csv", "--threads=-1"], ["--threads cannot be '-1'", "0 to 4,096"]),
    "seed": (["evaluate", T, "rows.csv", "--seed=-1"], ["--seed cannot be '-1'", "0 to 4,294,967,295"]),
    "device": (["predict", T, "fine", "--device=gpu"], ["--device cannot be 'gpu'", "'cpu' or 'cuda'"]),
    "method": (["prune", T, "rows.csv", "--method=layer"], ["no method of prune called 'layer'", "'layers'"]),
    "task": (["finetune", T, "rows.csv", "--task=txt-classification"], ["no task called 'txt-classification'", "'text-classification'"]),
    "size": (
        ["finetune", "new:bert-tinny", "rows.csv", "--task=text-classification"],
        ["no size called 'bert-tinny'", "'bert-tiny'", "families"],
    ),
    "size of another kind": (["finetune", "new:vit-tiny", "rows.csv", "--task=text-classification"], ["new:vit-tiny reads image", "bert"]),
    "no task for a size": (["finetune", "new:bert-tiny", "rows.csv"], ["new:bert-tiny does not say which task", "--task"]),
    "untrained": (["prune", "new:bert-tiny", "rows.csv", "--task=x"], ["no option '--task=x'"]),
    "a size to evaluate": (["evaluate", "new:bert-tiny", "rows.csv"], ["new:bert-tiny does not say which task"]),
    "no student": (["distill", T, "rows.csv"], ["--student must be given", "new:<size>"]),
    "more layers than the teacher": (
        ["distill", T, "rows.csv", "--layers=99"],
        ["--layers cannot be 99: the teacher has", "the most there are"],
    ),
    "an odd width": (["distill", T, "rows.csv", "--ffn=12"], ["--ffn cannot be 12: the teacher has", "16, the nearest that its config"]),
    "an odd hidden width": (
        ["distill", T, "rows.csv", "--hidden=80"],
        ["--hidden cannot be 80: the teacher has 128", "64, the nearest that"],
    ),
    "heads that are as wide as the model": (
        ["distill", T, "rows.csv", "--heads=1"],
        ["--heads does not fit a model of type bert: its config cannot say it", "--layers or --ffn or --hidden or --student"],
    ),
    "a student as large as its teacher": (
        ["distill", T, "rows.csv", "--hidden=128"],
        ["a student of this shape is as large as its teacher", "lower --hidden"],
    ),
    "a training where nothing recovers": (
        ["prune", T, "rows.csv", "--method=vocabulary", "--epochs=2"],
        ["--epochs does nothing here: --method vocabulary trains nothing", "leave --epochs out"],
    ),
    "a switch of such a training": (["prune", T, "rows.csv", "--method=vocabulary", "--no-nesterov"], ["--nesterov does nothing here"]),
    "rows that nobody looks at": (
        ["prune", T, "rows.csv", "--method=layers", "--scoring-rows=9"],
        ["--scoring-rows does nothing here: --method layers looks at no rows"],
    ),
    "half of a pattern": (
        ["prune", T, "rows.csv", "--method=weights", "--pattern=2:4", "--rounds=2"],
        ["--pattern 2:4 leaves two of four weights", "one round"],
    ),
    "a student and a shape": (
        ["distill", T, "rows.csv", "--student=new:bert-tiny", "--ffn=64"],
        ["--ffn shape the teacher", "one of them"],
    ),
    "student that is not there": (["distill", T, "rows.csv", "--student=nobody"], ["nobody does not exist"]),
    "student of another kind": (["distill", T, "rows.csv", "--student=new:cnn-tiny"], ["new:cnn-tiny reads image"]),
    "a tokenizer for a trained model": (["finetune", T, "rows.csv", "--tokenizer=bpe"], ["--tokenizer is not for", "leave --tokenizer"]),
    "a tokenizer for images": (
        ["finetune", "new:cnn-tiny", "rows.csv", "--task=image-classification", "--vocabulary=500"],
        ["--vocabulary is not for new:cnn-tiny, which reads image", "a new text model"],
    ),
    "a tokenizer that is not there": (["finetune", T, "rows.csv", "--tokenizer=bpf"], ["--tokenizer cannot be 'bpf'", "'bpe'"]),
    "a method of explanation that is not there": (
        ["explain", T, "fine", "--method=gradcam"],
        ["no method of explain called", "'grad-cam'"],
    ),
    "a method that does not fit": (["explain", T, "fine", "--method=grad-cam"], ["grad-cam does not fit this model", "occlusion"]),
    "a label to explain that is not there": (["explain", T, "fine", "--label=fine"], ["--label cannot be 'fine'", "'bad' or 'good'"]),
    "a part that is not there": (["explain", T, "fine", "--part=2"], ["--part cannot be 2", "0 to 0"]),
    "a page where a folder is": (["explain", T, "fine", "--out=."], ["is a folder", "page.html"]),
    "a page of rows where a folder is": (["evaluate", T, "rows.csv", "--out=.."], [".. is a folder", "page.html"]),
    "a page below a file": (["compare", T, T, "rows.csv", "--out=rows.csv/page.html"], ["cannot be written", "rows.csv is a file"]),
    "a page where nothing can be": (["explain", T, "fine", "--out=/proc/why.html"], ["/proc/why.html cannot be written", "choose another"]),
    "a noise floor of nothing": (["compare", T, T, "rows.csv", "--noise-floor=x"], ["--noise-floor is for --reasons"]),
    "training rows without labels": (["explain", T, "fine", "--among=rows"], ["no file or folder 'rows'"]),
    "nothing to explain": (["explain", T, " "], ["nothing to explain", "standard input"]),
    "positions that the family lacks": (
        ["finetune", "new:bert-tiny", "rows.csv", "--task=text-classification", "--positions=nope"],
        ["new:bert-tiny cannot be made with --positions nope", "'learned' or 'rotary'", "penjing families"],
    ),
    "positions of a family with one kind": (
        ["finetune", "new:lstm-mini", "rows.csv", "--task=text-classification", "--positions=rotary"],
        ["cannot be made with --positions rotary", "no --positions"],
    ),
    "too small a vocabulary": (["finetune", T, "rows.csv", "--vocabulary=9"], ["--vocabulary cannot be '9'", "300 to 1,000,000"]),
    "students without new:": (["shrink", T, "rows.csv", "--students=bert-tiny"], ["--students cannot be 'bert-tiny'", "new:<size>"]),
    "recipe": (["run", "digit"], ["no recipe 'digit'", "'digits'"]),
    "setting": (["run", "digits", "--set", "epochs"], ["--set cannot be 'epochs'", "small.floor=2.0"]),
    "setting of no step": (["run", "digits", "--set", "smal.epochs=2"], ["no step 'smal'", "'small'"]),
    "setting of no option": (["run", "digits", "--set", "small.epoch=2"], ["[small]: shrink has no option 'epoch'", "'epochs'"]),
    "setting out of range": (["run", "digits", "--set", "small.epochs=x"], ["[small]: --epochs cannot be 'x'", "a number"]),
}


@pytest.mark.parametrize("words, parts", WORDS.values(), ids=WORDS)
def test_a_word_that_will_not_do_is_refused(refused, tmp_path, text_parent, words, parts):
    (tmp_path / "rows.csv").write_text(GOOD)
    words = [str(text_parent) if word == T else word for word in words]
    out = ["--out", "made"] if words[0] in ("finetune", "distill", "prune", "shrink", "sweep") and parts[0] != "--out must be given" else []
    refused([*words[:1], *out, *words[1:]] if words[-1] == "--epochs" else [*words, *out], *parts)


def test_a_gpu_that_is_not_there_is_refused(refused, reviews, text_parent, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(("finetune", text_parent, reviews, "--out", "made", "--device=cuda"), "--device cannot be 'cuda': torch finds no GPU", "'cpu'")
    refused(("predict", text_parent, "fine", "--device=cuda"), "--device cannot be 'cuda'")


RECIPES = {
    "no TOML": ("[a", ["mine.toml: ", "a recipe in TOML", "correct"]),
    "no steps": ('title = "x"', ["mine.toml has no steps", "[small]"]),
    "a word above the steps": ('dta = "rows.csv"\n[a]\nstage = "finetune"', ["no word 'dta' above the steps", "'data'"]),
    "no stage": ('[a]\nmodel = "new:bert-tiny"', ["mine.toml, [a]: stage is not given"]),
    "a mistyped stage": ('[a]\nstage = "prnue"', ["mine.toml, [a]: no stage 'prnue'", "'prune'"]),
    "no model and no data": ('[a]\nstage = "prune"', ["mine.toml, [a]: model and data are not given", "--set model=MODEL --set data=DATA"]),
    "no data": ('[a]\nstage = "prune"\nmodel = "TEXT"', ["mine.toml, [a]: data is not given"]),
    "an unknown model": ('data = "rows.csv"\n[a]\nstage = "prune"\nmodel = "b"', ["mine.toml, [a]: no model 'b'", "an earlier step"]),
    "an untrained model": ('data = "rows.csv"\n[a]\nstage = "prune"\nmodel = "new:bert-tiny"', ["[a]: prune needs a trained model"]),
    "an unknown method": ('data = "rows.csv"\n[a]\nstage = "prune"\nmodel = "TEXT"\nmethod = "x"', ["[a]: no method of prune called 'x'"]),
    "data that are not there": ('data = "rows.cvs"\n[a]\nstage = "prune"\nmodel = "TEXT"', ["no file or folder 'rows.cvs'"]),
    "a later step that will not do": (
        'data = "rows.csv"\n[a]\nstage = "finetune"\nmodel = "TEXT"\n[b]\nstage = "prune"\nmodel = "a"\nepochs = "many"',
        ["mine.toml, [b]: --epochs cannot be 'many'", "a number"],
    ),
}


@pytest.mark.parametrize("content, parts", RECIPES.values(), ids=RECIPES)
def test_a_recipe_that_will_not_do_is_refused_before_its_first_step(refused, tmp_path, text_parent, content, parts):
    (tmp_path / "rows.csv").write_text(GOOD)
    (tmp_path / "mine.toml").write_text(content.replace("TEXT", str(text_parent)))
    refused(("run", "mine.toml"), *parts)


def test_an_output_that_is_there_is_refused_before_rows_are_read(refused, copy, tmp_path, text_parent):
    given = ("finetune", text_parent, "no-rows.csv", "--out")
    (tmp_path / "file").write_text("x")
    refused((*given, "file", "--overwrite"), "file is a file", "a directory")
    refused((*given, "file/made"), "file/made cannot be written: ", "file is a file", "can be written")
    refused((*given, "x" * 300), "cannot be written: File name too long")
    for odd in (".", "..", "/"):
        refused((*given, odd, "--overwrite"), f"--out cannot be {odd!r}")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_text("dear to me")
    refused((*given, "photos", "--overwrite"), "photos exists and is not a model directory, so it is not replaced", "a new name")
    (copy("text") / "penjing.json").unlink()
    refused((*given, "text"), "text exists", "a new name", "--overwrite")


def test_an_output_made_with_other_options_is_refused_and_they_are_named(refused, copy, reviews):
    meta = json.loads((copy("text") / "penjing.json").read_text())
    given = ("finetune", "new:bert-tiny", reviews, "--task=text-classification", "--out=text", "--learning-rate=1e-3", "--precision=fp32")
    parts = ["text exists and was made otherwise: epochs 4.0, now 2.0", "the same options", "--overwrite"]
    assert meta["inputs"]["options"]["epochs"] == 4
    refused((*given, "--epochs=2", "--threads=1"), *parts)
    refused((*given, "--epochs=4", "--threads=1", "--seed=7"), "text exists and was made otherwise: seed 0, now 7")


def test_an_output_that_another_process_is_writing_is_refused(refused, tmp_path, reviews, text_parent):
    (tmp_path / ".made.partial").mkdir()
    held = os.open(tmp_path / ".made.partial", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    refused(("finetune", text_parent, reviews, "--out=made", "--quiet"), "made is being written by another process", "wait")
    os.close(held)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), RuntimeError("I/O error: No space left on device (os error 28)")], ids=["system", "Rust"]
)
def test_a_full_disk_is_said_and_nothing_stays_behind(refused, monkeypatch, reviews, text_parent, error):
    def full(loaded, out):
        (out / "config.json").write_text("{}")
        raise error

    monkeypatch.setattr("penjing.engine.deliver.save", full)
    given = ("finetune", text_parent, reviews, "--epochs=0", "--threads=1", "--quiet", "--out=made")
    refused(given, "made cannot be written: No space left on device", "room", "make room, or choose another --out")


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full_is_said(refused, tmp_path, reviews, text_parent):
    (tmp_path / "disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", tmp_path / "disk"], capture_output=True).returncode:
        pytest.skip("this root may not mount")
    try:
        for command in (("finetune", "--epochs=0"), ("quantize",)):
            given = (command[0], text_parent, reviews, *command[1:], "--threads=1", "--quiet", "--out=disk/made")
            refused(given, "disk/made cannot be written: No space left on device", "make room")
    finally:
        subprocess.run(["umount", tmp_path / "disk"], check=True)


def test_a_cache_that_cannot_be_written_is_said(refused, tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text(GOOD)
    monkeypatch.setenv("PENJING_CACHE", "/proc/nowhere")
    refused(("check", "rows.csv"), "the cache folder /proc/nowhere/tables cannot be written", "PENJING_CACHE")


def test_a_floor_that_these_rows_cannot_prove_is_refused_before_training(refused, reviews, text_parent):
    given = ("shrink", text_parent, reviews, "--out=made", "--floor=1.0")
    parts = ["reviews.csv: a floor of 1.0 cannot be proven with 210 proof rows", "at least 268 proof rows", "a wider floor"]
    refused(given, *parts)
    refused((*given, "--dry-run"), *parts)


def test_proof_rows_that_the_parent_was_trained_on_are_refused(refused, tmp_path, reviews, text_parent):
    data = Data.open(reviews, DataOptions(), TextClassification)
    seen = [data.role("train")[i] for i in range(600)]
    for name, rows in {"train": seen[:100], "validation": seen[100:200], "test": seen[200:]}.items():
        (tmp_path / "rows").mkdir(exist_ok=True)
        (tmp_path / "rows" / f"{name}.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    parts = ["rows: about ", "% of the proof rows are among those that ", "no step has seen", "other rows"]
    refused(("shrink", text_parent, "rows", "--out=made", "--floor=5"), *parts)


def test_a_parent_no_better_than_chance_is_refused(refused, copy, tmp_path):
    write_reviews(tmp_path / "rows.csv", 1000)
    text = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").write_text(text.replace(",good", ",?").replace(",bad", ",good").replace(",?", ",bad"))
    copy("text")
    refused(
        ("shrink", "text", "rows.csv", "--out=made", "--floor=5", "--quiet"),
        "that of always saying",
        "better than chance",
        "finetune it first",
    )


def test_a_method_that_does_not_fit_the_model_is_refused(refused, reviews, text_parent):
    refused(("prune", text_parent, reviews, "--out=made", "--method=channels"), "channels does not fit a model of type bert", "'layers'")


def test_a_library_that_is_not_installed_is_named_with_its_extra(refused, reviews, text_parent, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    refused(("quantize", text_parent, reviews, "--out=made", "--quiet"), "is not installed", "pip install 'penjing[onnx]'")


def test_nothing_to_predict_and_text_that_is_not_utf8_are_refused(refused, tmp_path, text_parent):
    refused(("predict", text_parent, ""), "nothing to predict", "standard input")
    (tmp_path / "notes.txt").write_bytes(b"fine\ntr\xe8s bon\n")
    refused(("predict", text_parent, "notes.txt"), "notes.txt, line 2, byte 7", "UTF-8", "iconv")
    (tmp_path / "rows.csv").write_text("sentence\nfine\n")
    refused(("predict", text_parent, "rows.csv"), "rows.csv: no column 'text'", "'sentence'", "--columns text=")


def test_a_card_of_a_directory_that_no_stage_wrote_is_refused(refused, copy):
    (copy("text") / "report.json").unlink()
    refused(("card", "text"), "text has no report.json", "a stage of penjing", "penjing evaluate text DATA")
    assert load.task_for(ModelDir.open("text")).labels == ["bad", "good"]


ALIKE = "text,label\n" + "".join(f"word {i},{('Good', 'bad', 'good ')[i % 3]}\n" for i in range(61))


def test_labels_that_look_alike_are_asked_about_and_merged_or_kept_apart(refused, ask, tmp_path):
    (tmp_path / "rows.csv").write_text(ALIKE)
    parts = [
        "rows.csv, row 4: label 'good ' differs from 'Good' (rows.csv, row 2)",
        "(20 and 21 rows)",
        "one spelling",
        "--alike-labels merge",
    ]
    refused(NEW_TEXT, *parts)
    made = {how: prepare(*NEW_TEXT[:3], {"task": "text-classification", "alike_labels": how}, Runtime()) for how in ("merge", "apart")}
    assert made["merge"].task.labels == ["Good", "bad"] and made["apart"].task.labels == ["Good", "bad", "good "]
    assert "label: 'good ' (20 rows) is taken for 'Good'" in made["merge"].data.notes
    refused([*NEW_TEXT, "--alike-labels=both"], "--alike-labels cannot be 'both'", "'merge'", "'apart'")
    said = ask("check", "rows.csv").out
    assert "'good ' and 'Good' differ in case or white space alone" in said


def test_a_known_model_takes_labels_in_its_own_spelling(refused, ask, tmp_path, text_parent):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"fine {i},good\npoor {i},bad\nso so {i},Bad \n" for i in range(9)))
    refused(
        ("evaluate", text_parent, "rows.csv"), "rows.csv, row 4, column label: label 'Bad ' is not one", "'bad'", "--alike-labels merge"
    )
    said = ask("evaluate", text_parent, "rows.csv", "--alike-labels=merge", "--rows=all", "--quiet", "--json")
    assert "label: 'Bad ' (9 rows) is taken for 'bad'" in json.loads(said.out)["notes"], said.err


def test_bad_rows_are_left_out_where_that_is_asked_for_and_every_one_is_listed(refused, ask, tmp_path, reviews, text_parent):
    lines = reviews.read_text().splitlines()[:60]
    (tmp_path / "rows.csv").write_text("\n".join([*lines, "a,b,c", ",good", "well,goood", "fine,good"]) + "\n")
    refused(("evaluate", text_parent, "rows.csv"), "rows.csv, row 61: 3 values")
    report = json.loads(ask("evaluate", text_parent, "rows.csv", "--skip-bad-rows", "--rows=all", "--quiet", "--json").out)
    found = report["notes"].index("3 of 63 rows left out by --skip-bad-rows, as they cannot be used:")
    for note, part in zip(
        report["notes"][found + 1 :], ("row 61: 3 values", "row 62: text is empty", "row 63, column label: label 'goood'")
    ):
        assert part in note
    assert sum(report["data"]["rows"].values()) == 60
    (tmp_path / "rows.csv").write_text("\n".join([*lines, *["a,b,c"] * 7]) + "\n")
    parts = ["rows.csv: 7 of 66 rows cannot be used, the first: rows.csv, row 61: 3 values", "at most 10%", "penjing check lists them"]
    refused(("evaluate", text_parent, "rows.csv", "--skip-bad-rows"), *parts)
    (tmp_path / "rows.csv").write_text("text,label\n,good\n,bad\n")
    refused(
        ("evaluate", text_parent, "rows.csv", "--skip-bad-rows"), "rows.csv: no row can be used, the first: rows.csv, row 2: text is empty"
    )


def test_the_card_says_that_rows_were_left_out(ask, tmp_path, reviews):
    (tmp_path / "rows.csv").write_text("\n".join([*reviews.read_text().splitlines()[:200], "a,b,c"]) + "\n")
    given = [*NEW_TEXT, "--skip-bad-rows", "--epochs=0", "--quiet", "--threads=1"]
    assert ask(*given).status == 0
    assert "rows.csv, row 201: 3 values, the header names 2" in (tmp_path / "made" / "README.md").read_text()
    assert "already done" in ask(*[word for word in given if word != "--quiet"]).err
