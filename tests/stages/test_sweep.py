"""A sweep trains each variant as finetune would, once, and keeps the best."""

import json

import pytest

import penjing
from penjing import cli
from penjing.core.errors import OptionError
from penjing.core.report import Report
from penjing.stages import _frame, sweep

VARY, COMMON = {"learning_rate": [1e-6, 3e-3]}, {"optimizer": "muon", "epochs": 0.5, "batch_rows": 64}


@pytest.fixture(scope="module")
def one():
    """One thread: these networks are too small for two."""
    return penjing.Runtime(threads=1, quiet=True)


@pytest.fixture(scope="module")
def swept(few, image_parent, one, tmp_path_factory):
    """(folder, model, what was found) of two learning rates, of which one is hopeless."""
    folder = tmp_path_factory.mktemp("sweeps") / "rates"
    return folder, *penjing.sweep(image_parent, "sklearn:digits", vary=VARY, out=folder, runtime=one, **COMMON)


@pytest.fixture
def made(monkeypatch):
    """The keys of the runs that are made from now on."""
    keys, make = [], _frame.make
    monkeypatch.setattr(
        _frame, "make", lambda call, *rest, **named: keys.append(_frame.key_of(call.inputs())) or make(call, *rest, **named)
    )
    return keys


def test_the_best_is_the_model_that_finetune_makes_of_the_same_words(swept, image_parent, one, tmp_path):
    folder, model, found = swept
    twin, report = penjing.finetune(image_parent, "sklearn:digits", out=tmp_path / "twin", runtime=one, learning_rate=3e-3, **COMMON)
    assert model.path == folder / "best" and model.sha256() == twin.sha256()
    first, second = found["variants"]
    assert first["words"] == {"learning_rate": 3e-3} and first["quality"]["value"] == report.after["accuracy"].value
    assert (first["quality"]["low"], first["quality"]["high"]) == (report.after["accuracy"].low, report.after["accuracy"].high)
    assert first["quality"]["value"] > second["quality"]["value"] and first["by_seed"] == [first["quality"]["value"]]
    assert [step for step, _, _ in first["losses"]] == list(range(1, 11)) and first["losses"][-1][1] == first["seconds"]


def test_numbers_and_pictures_lie_beside_the_best_whose_card_says_how_it_was_chosen(swept):
    folder, model, found = swept
    assert sorted(path.name for path in folder.iterdir()) == [".sweep", "best", "report.html", "runs", "sweep.json"]
    assert json.loads((folder / "sweep.json").read_text("utf-8")) == json.loads(json.dumps(found))
    assert len(list((folder / "runs").glob("*.json"))) == len(list((folder / "runs").iterdir())) == 2, "models of the others are not kept"
    said = "the best of 2 variants was chosen by these very rows"
    assert said in (model.path / "README.md").read_text("utf-8") and any(said in note for note in Report.read(model.path).notes)
    page = (folder / "report.html").read_text("utf-8")
    assert page.index("Variants") < page.index("<article") and "Loss against seconds" in page and "3e-3" not in page


def test_what_is_done_is_not_done_again_and_another_value_adds_its_run(swept, made, image_parent, one):
    folder, model, found = swept
    page = (folder / "report.html").read_text("utf-8")
    again = penjing.sweep(image_parent, "sklearn:digits", vary=VARY, out=folder, runtime=one, **COMMON)
    assert made == [] and again[1] == json.loads(json.dumps(found)) and (folder / "report.html").read_text("utf-8") == page
    more = {"learning_rate": [*VARY["learning_rate"], 1e-5]}
    _, found = penjing.sweep(image_parent, "sklearn:digits", vary=more, out=folder, runtime=one, **COMMON)
    assert len(made) == 1 and len(found["variants"]) == 3
    assert penjing.ModelDir.open(folder / "best").sha256() == model.sha256()


def test_a_best_model_that_was_lost_is_trained_again_to_the_bit(swept, made, image_parent, one):
    folder, model, _ = swept
    (folder / "best" / "penjing.json").unlink()
    again, _ = penjing.sweep(image_parent, "sklearn:digits", vary=VARY, out=folder, runtime=one, **COMMON)
    assert len(made) == 1 and again.sha256() == model.sha256()


def test_seeds_are_averaged_and_what_cannot_be_trained_is_listed_with_the_reason(image_parent, one, tmp_path, capsys):
    words = ["sweep", image_parent, "sklearn:digits", "--out", tmp_path / "s", "--threads=1", "--quiet", "--epochs=0.1", "--batch-rows=64"]
    assert cli.main([*map(str, words), "--vary", "optimizer:method=adamw:full,muon:probe", "--seeds=2"]) == 0
    said = capsys.readouterr().out
    assert "failed: optimizer muon, method probe: muon has nothing to move" in said and "lowest to highest seed" in said
    found = json.loads((tmp_path / "s" / "sweep.json").read_text("utf-8"))
    (only,), runs = found["variants"], [Report.from_json(p.read_text("utf-8")) for p in (tmp_path / "s" / "runs").glob("*.json")]
    assert sorted(only["by_seed"]) == sorted(run.after["accuracy"].value for run in runs) and {run.options["seed"] for run in runs} == {
        0,
        1,
    }
    assert only["quality"]["value"] == pytest.approx(sum(only["by_seed"]) / 2)
    assert Report.read(tmp_path / "s" / "best").options["seed"] == 0


def test_values_that_belong_together_are_joined_and_others_go_each_with_each():
    ways = sweep.combined({"optimizer:momentum": ["sgd:0", ("sgd", 0.9)], "dropout": "0,0.1"})
    assert ways == [
        {"optimizer": "sgd", "momentum": "0", "dropout": "0"},
        {"optimizer": "sgd", "momentum": "0", "dropout": "0.1"},
        {"optimizer": "sgd", "momentum": 0.9, "dropout": "0"},
        {"optimizer": "sgd", "momentum": 0.9, "dropout": "0.1"},
    ]


def test_later_runs_take_as_many_threads_as_the_first_found_best(image_parent):
    call = _frame.prepare("finetune", image_parent, "sklearn:digits", {}, penjing.Runtime(quiet=True))
    first = Report("finetune", {}, facts={"training": {"threads": 3}})
    assert sweep._as_first(call, None) == call and sweep._as_first(call, first).runtime.threads == 3
    asked = call._replace(runtime=penjing.Runtime(threads=1))
    assert sweep._as_first(asked, first).runtime.threads == 1


@pytest.mark.parametrize("name", ["groups", "task", "new_head", "folds"])
def test_what_decides_which_rows_answer_and_how_cannot_be_varied(name, image_parent, tmp_path):
    with pytest.raises(OptionError, match=f"{name} cannot be varied"):
        penjing.sweep(image_parent, "sklearn:digits", vary={name: [1, 2]}, out=tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_folder_with_anything_but_a_sweep_in_it_is_left_as_it_is(image_parent, tmp_path):
    (tmp_path / "runs").mkdir()
    for stranger in ("runs", ".sweep", "dear.txt"):
        (tmp_path / stranger).exists() or (tmp_path / stranger).write_text("x")
        before = sorted(tmp_path.iterdir())
        if {".sweep", "dear.txt"} & {path.name for path in before} != {".sweep"}:
            with pytest.raises(OptionError, match="is not that of a sweep alone"):
                penjing.sweep(image_parent, "sklearn:digits", vary={"epochs": [1, 2]}, out=tmp_path)
        assert sorted(tmp_path.iterdir()) == before
