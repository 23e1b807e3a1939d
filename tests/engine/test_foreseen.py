"""What a training will take, told before it begins: by hand for a step, silent where nothing holds, warned of where it is too much."""

import dataclasses
import json

import pytest

import penjing
from penjing import cli
from penjing.core.runtime import cache_folder, cores, processor
from penjing.core.tables import device
from penjing.engine import foreseen, machine
from penjing.engine.foreseen import Foreseen, foresee, warnings
from penjing.engine.words import planned_sentence
from penjing.maths import cost
from tests.engine.test_train import started

SLOW = Foreseen(step_s=3.6, low_s=3.0, high_s=5.0, steps=10_000, bytes=8e9, on="this machine")


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Sets the row that is kept for this machine."""
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path))
    row = dataclasses.replace(device("LAPTOP"), name="HERE", reached=True)
    machine.keep(row)
    return row


def test_rates_are_those_that_were_measured_here_and_a_rank_has_its_share(measured):
    assert machine.here("cpu") == dataclasses.replace(measured, name="this machine")
    assert machine.here("cpu", ranks=2).fp32_tflops == pytest.approx(measured.fp32_tflops / 2)
    assert machine.here("cpu", threads=1).memory_gb_s == pytest.approx(measured.memory_gb_s / cores())


def test_rates_of_another_processor_or_none_are_those_of_the_table_for_so_many_cores(measured, monkeypatch):
    other = {**processor(), "processor": "another", "instructions": ["avx2"]}
    monkeypatch.setattr(machine, "processor", lambda: other)
    found = machine.here("cpu")
    assert found.name == f"{cores()} cores of CPU-AVX2"
    assert found.fp32_tflops == pytest.approx(device("CPU-AVX2").fp32_tflops * cores() / 16)
    monkeypatch.setattr(machine, "processor", lambda: {**other, "instructions": []})
    assert machine.here("cpu") is None


@pytest.mark.parametrize(("name", "row"), [("NVIDIA A100-SXM4-80GB", "A100-40G"), ("Tesla T4", "T4"), ("Radeon VII", None)])
def test_a_gpu_is_known_by_its_name(name, row, monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: [name])
    found = machine.here("cuda")
    assert (found and found.name) == row


def test_the_command_that_measures_keeps_what_it_found(monkeypatch, tmp_path, measured):
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "new"))
    monkeypatch.setattr(machine, "measure_here", lambda: measured)
    assert cli.main(["plan", "--measure-here"]) == 0
    assert json.loads((cache_folder() / machine.KEPT).read_text())["row"]["name"] == "HERE"


def test_bytes_are_those_of_weights_gradients_moments_the_best_weights_and_what_blocks_keep(measured, runtime):
    state, _ = started("text-classification", runtime)
    told = foresee(state, (8, 4096))
    numbers = sum(p.numel() for p in state.model.parameters())
    rows, length = 8, int(state.encoded.lengths.max())
    shape = foreseen.counted.counted_model(state.model).shape
    kept = shape.layers * cost.activation_bytes(shape, length, rows * length, number=4, fused=False)
    least = (4 + 8 + 4) * numbers + max(kept, 4 * numbers)  # as a backward pass begins, or as it ends
    assert least <= told.bytes <= 1.6 * least  # working memory comes to that
    assert told.steps == state.steps and told.low_s < told.step_s < told.high_s


def test_twice_the_rows_of_a_batch_take_longer_and_an_optimizer_without_moments_holds_less(measured, runtime):
    state, _ = started("text-classification", runtime)
    once, twice = foresee(state, (8, 4096)), foresee(state, (8, 4096), copies=2)
    assert once.step_s < twice.step_s < 2 * once.step_s and once.bytes < twice.bytes
    sgd, _ = started("text-classification", runtime, optimizer="sgd")
    less = once.bytes - foresee(sgd, (8, 4096)).bytes
    assert less == pytest.approx(8 * sum(p.numel() for p in state.model.parameters()))


def test_a_network_without_a_closed_form_is_counted_by_a_pass_over_its_own_rows(measured, runtime):
    state, _ = started("image-classification", runtime)
    told = foresee(state, (8, 8))
    assert told.step_s > 0 and told.bytes > 20 * sum(p.numel() for p in state.model.parameters())


def test_a_teacher_takes_a_third_of_what_it_would_to_train_it_and_a_probe_as_much(measured, runtime):
    state, _ = started("text-classification", runtime)
    alone, beside = foresee(state, (8, 4096)), foresee(state, (8, 4096), teacher=state.model)
    probe, _ = started("text-classification", runtime, method="probe")
    told = foresee(probe, (8, 4096))
    assert beside.bytes == alone.bytes and told.bytes < 0.6 * alone.bytes
    asked = beside.step_s - alone.step_s
    assert 0.1 * alone.step_s < asked < 0.5 * alone.step_s
    assert told.step_s == pytest.approx(asked, rel=0.05)


def test_nothing_is_told_where_the_formulas_do_not_hold(measured, runtime, monkeypatch):
    unknown, _ = started("image-classification", runtime)

    def fails(*_):
        raise RuntimeError("it looks at numbers")

    monkeypatch.setattr(foreseen.counted, "passed", fails)
    assert foresee(unknown, (8, 8)) is None
    known, _ = started("text-classification", runtime)
    monkeypatch.setattr(foreseen, "here", lambda *_: None)
    assert foresee(known, (8, 4096)) is None


def test_what_is_too_large_or_takes_hours_is_warned_of_with_what_to_do():
    room, time = warnings(SLOW, 4e9)
    assert room.startswith("this training needs 8.00 GB of memory and 4.00 GB are free: pass --batch-tokens auto")
    assert "about 10.0 hours (80 %: 8.3 to 13.9) on this machine: pass fewer --epochs" in time
    assert not warnings(SLOW._replace(steps=1000), 9e9)


def test_finetune_warns_on_standard_error_and_goes_on_and_its_card_sets_the_plan_beside_what_came(
    measured, reviews, tmp_path, runtime, monkeypatch, capsys
):
    monkeypatch.setattr(foreseen, "LONG_S", 1e-9)
    words = {"task": "text-classification", "epochs": 0.1, "precision": "fp32"}
    model, report = penjing.finetune("new:bert-tiny", reviews, out=tmp_path / "out", runtime=runtime, **words)
    plan = report.facts["training"]["plan"]
    assert "warning: by the plan this training takes about 0.0 hours" in capsys.readouterr().err
    assert plan["took_s"] > 0 and plan["low_s"] < plan["seconds"] < plan["high_s"] and plan["bytes"] > 0
    assert plan["took_bytes"] is None or plan["took_bytes"] > 0
    assert "Planned by the rates of this machine" in (model.path / "README.md").read_text("utf-8")


def test_a_training_that_a_teacher_helps_in_is_planned_with_what_the_teacher_takes(reviews, text_parent, tmp_path, runtime):
    words = {"student": "new:bert-tiny", "epochs": 0.1, "precision": "fp32"}
    _, report = penjing.distill(text_parent, reviews, out=tmp_path / "out", runtime=runtime, **words)
    plan = report.facts["training"]["plan"]
    assert plan["low_s"] < plan["seconds"] < plan["high_s"] and "lanned by the rates" in planned_sentence(plan)
    assert planned_sentence(None) == ""
