"""Plans as a user asks for them: what fits, what a layout means, what is refused, that what is said adds up."""

import json

import pytest

import penjing
from penjing import cli
from penjing.core.runtime import Runtime
from penjing.engine import counted, layouts
from penjing.maths import cost
from penjing.maths.layout import Layout
from penjing.stages import _learning_curve
from penjing.stages.plan import told
from tests.conftest import write_reviews

GPT3 = {"stage": "pretrain", "tokens": "300e9", "on": "1024xA100-80G"}


@pytest.fixture
def ask(capsys):
    """Type a command; status, output, error."""

    def typed(*words):
        status = cli.main(["plan", *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return typed


def test_parts_of_memory_add_up_and_a_layout_has_all_ranks():
    facts = penjing.plan("gpt-3-175b", **GPT3).facts
    parts = {name: size for name, size in facts["memory_bytes"].items() if name != "total"}
    assert sum(parts.values()) == pytest.approx(facts["memory_bytes"]["total"]) and facts["fits"]
    layout = Layout(**facts["layout"])
    assert layout.ranks == 1024 and layout.rows == facts["rows"]
    assert facts["seconds"] == pytest.approx(facts["steps"] * facts["step_s"])
    assert facts["device_hours"] == pytest.approx(facts["seconds"] / 3600 * 1024)
    assert facts["steps"] * facts["rows"] * facts["length"] >= 300e9


def test_the_operations_of_gpt_3_are_those_that_its_paper_prints():
    """Brown et al. 2020, table D.1: 3.14e23 for 300 billion tokens, 6 N D without attention."""
    facts = penjing.plan("gpt-3-175b", **GPT3).facts
    assert facts["flops_a_token"]["model"] * 300e9 == pytest.approx(3.14e23, rel=0.04)


def test_the_layout_that_is_found_has_the_least_cautious_time_of_those_that_a_user_may_fix():
    best = penjing.plan("llama-3.1-70b", stage="pretrain", on="64xH100", tokens=1e9).facts
    for fixed in ({"tensor_ranks": 8}, {"tensor_ranks": 4, "pipeline_ranks": 4}, {"sharded": "weights"}, {"checkpointing": "full"}):
        other = penjing.plan("llama-3.1-70b", stage="pretrain", on="64xH100", tokens=1e9, **fixed).facts
        assert best["high_s"] <= other["high_s"]
        assert all(other["layout"][name.removesuffix("_ranks")] == value for name, value in fixed.items())


def test_what_does_not_fit_is_said_with_the_least_that_is_needed():
    report = penjing.plan("llama-3.1-405b", on="8xH100")
    assert not report.facts["fits"] and "it does not fit" in report.notes[0] and "DOES NOT FIT" in told(report)


def test_a_plan_beyond_what_runs_have_shown_says_so():
    words = {"stage": "pretrain", "on": "65536xH100", "batch": 65536, "sharded": "weights"}
    wide = penjing.plan("llama-3.1-8b", **words, tensor_ranks=1, pipeline_ranks=1, context_ranks=1)
    assert "no graded run shares weights out among more than" in wide.notes[0]
    narrow = penjing.plan("llama-3.1-8b", **words, tensor_ranks=8, pipeline_ranks=32).notes
    assert not any("shares weights out" in note for note in narrow)


def test_weights_shared_out_over_half_a_thousand_ranks_in_parts_of_a_row_are_not_chosen_and_told_with_a_wide_interval():
    """What such ranks send in a step takes as long as what they compute, and no graded run has hidden that much."""
    best = penjing.plan("gpt-3-175b", **GPT3)
    wide = penjing.plan("gpt-3-175b", **GPT3, sharded="weights", tensor_ranks=2, pipeline_ranks=1, checkpointing="none")
    assert best.facts["layout"]["pipeline"] > 1 and best.facts["high_s"] < wide.facts["high_s"] and not best.notes
    assert any("as waited for" in note for note in wide.notes) and wide.facts["layout"]["checkpointing"] == "none"
    spread = [report.facts["high_s"] / report.facts["low_s"] for report in (best, wide)]
    assert spread[0] < spread[1]


def test_lora_needs_less_than_a_training_of_all_weights_and_few_bits_less_still():
    whole, lora = (penjing.plan("llama-3.1-8b", method=method, on="8xH100", batch=8).facts["memory_bytes"] for method in ("full", "lora"))
    few = penjing.plan("llama-3.1-8b", method="lora", bits=4, on="8xH100", batch=8).facts["memory_bytes"]
    assert few["weights"] < lora["weights"] and lora["optimizer"] < whole["optimizer"]
    shape = counted.counted("llama-3.1-8b", Runtime()).shape
    assert cost.adapters(shape, 8) == 20_971_520  # peft prints 20,971,520 for r = 8 on all linears of this model


def test_what_penjing_runs_is_launched_by_its_own_command():
    report = penjing.plan("llama-3.1-8b", on="8xH100", batch=32)
    assert report.facts["launch"].startswith("penjing finetune llama-3.1-8b DATA --out DIRECTORY --batch-rows 32")
    assert "--method lora --rank 8" in penjing.plan("llama-3.1-8b", method="lora").facts["launch"]
    assert "--sharded" in report.facts["launch"] and "--ranks 8" in report.facts["launch"]


@pytest.mark.parametrize(
    ("layout", "parts"),
    [
        (Layout(data=2, tensor=8, pipeline=4, parts=8, checkpointing="full"), ["pretrain_gpt.py", "--tensor-model-parallel-size 8",
         "--pipeline-model-parallel-size 4", "--global-batch-size 16", "--recompute-granularity full"]),
        (Layout(data=8, tensor=2, sharded="weights"), ["torchtitan.train", "--parallelism.data_parallel_shard_degree 8",
         "--parallelism.tensor_parallel_degree 2", "--activation_checkpoint.mode none"]),
        (Layout(data=16, sharded="weights"), ["torchrun --nnodes 2 --nproc-per-node 8 -m penjing pretrain", "--sharded"]),
    ],
)  # fmt: skip
def test_other_layouts_are_launched_by_the_flags_of_who_runs_them(layout, parts):
    said = layouts.launch(layout, "penjing pretrain gpt2 DATA", layouts.read_machine("8xA100")[1])
    assert all(part in said for part in parts), said


def test_tokens_a_second_of_one_row_are_bandwidth_by_bytes():
    """8.03 billion weights but the table that is looked up, 2 bytes each, and the cache, over 3.35 TB a second of an H100."""
    facts = penjing.plan("llama-3.1-8b", stage="serve", on="H100", context=4096).facts
    read = 2 * (8_030_261_248 - 128256 * 4096) + 4096 * 131072
    assert facts["tokens_a_second"] == pytest.approx(3.35e12 / read, rel=1e-6) and facts["bound_by"] == "memory"


def test_as_many_rows_fit_as_are_said():
    words = {"stage": "serve", "on": "H100", "context": 8192}
    most = penjing.plan("llama-3.1-8b", **words).facts["most_rows"]
    assert "fits, by less than a plan may err" in told(penjing.plan("llama-3.1-8b", **words, batch=most))
    assert not penjing.plan("llama-3.1-8b", **words, batch=most + 1).facts["fits"]


@pytest.mark.parametrize(
    ("model", "stage"), [("resnet-50", "pretrain"), ("t5-base", "finetune"), ("vit-base", "serve"), ("new:cnn-tiny", "finetune")]
)
def test_a_model_without_a_closed_form_is_planned_by_passes_and_said_so(model, stage):
    report = penjing.plan(model, stage=stage, on="8xV100", tokens=1e6)
    assert report.facts["fits"] and "counted by a model without weights" in told(report)


def test_the_text_is_for_people_and_json_for_programs(ask):
    words = ("gpt-3-175b", "--stage", "pretrain", "--tokens", "300e9", "--on", "1024xA100-80G")
    status, out, _ = ask(*words)
    assert status == 0 and "175 G parameters" in out and ": fits" in out and "device hours" in out and "launch  " in out
    status, out, _ = ask(*words, "--json")
    assert status == 0 and json.loads(out)["facts"]["layout"]["data"] > 0


def test_a_budget_buys_as_many_tokens_as_it_pays_for():
    words = {"stage": "pretrain", "on": "8xH100", "batch": 64}
    bought = penjing.plan("llama-3.2-1b", **words, budget=1000).facts
    assert bought["usd"] <= 1000 < bought["usd"] * (1 + 1 / bought["steps"])
    assert penjing.plan("llama-3.2-1b", **words, tokens=bought["tokens"]).facts["steps"] == bought["steps"]


def test_a_budget_is_best_spent_on_a_size_that_costs_as_much(ask):
    status, out, _ = ask("llama-3.1-8b", "--stage", "pretrain", "--on", "8xH100", "--budget", "1000usd")
    assert status == 0 and "best spent on" in out
    facts = penjing.plan("llama-3.1-8b", stage="pretrain", on="8xH100", budget="1000usd").facts
    whole = facts["tokens_a_second"] * 1000 / (8 * 2.99) * 3600 * facts["flops_a_token"]["model"]
    assert 6 * facts["optimal"]["parameters"] * facts["optimal"]["tokens"] == pytest.approx(whole)


def test_a_check_that_misses_a_bar_exits_with_one(ask, monkeypatch):
    monkeypatch.setattr("penjing.engine.graded.TIME_MEDIAN", 0.01)
    status, out, _ = ask("--check")
    assert status == 1 and "missed" in out


def test_the_check_prints_every_run_and_the_bars(ask):
    status, out, _ = ask("--check")
    assert status == 0 and "time, median error" in out and "memory, worst error" in out
    status, out, _ = ask("--check", "--json")
    assert status == 0 and len(json.loads(out)["rows"]) >= 26


def test_this_machine_is_measured_in_seconds(ask):
    status, out, _ = ask("--measure-here", "--json")
    found = json.loads(out)
    assert status == 0 and found["fp32_tflops"] > 0 and found["memory_gb_s"] > 0


BAD = {
    "no model": ((), ["MODEL must be given", "penjing plan MODEL"]),
    "budget and tokens": (("gpt2", "--budget", 100, "--tokens", 1e9), ["--budget says how many tokens", "without --tokens"]),
    "budget without price": (("gpt2", "--budget", 100, "--on", "laptop"), ["no price of LAPTOP", "--tokens"]),
    "model": (("llama-3.1-9b",), ["no model called 'llama-3.1-9b'", "'llama-3.1-8b'", "hf:org/name"]),
    "size": (("new:bert-tinny",), ["no size called 'bert-tinny'", "'bert-tiny'"]),
    "hardware": (("gpt2", "--on", "8xH1000"), ["no hardware called 'H1000'", "'H100'"]),
    "no ranks": (("gpt2", "--on", "0xH100"), ["--on cannot be '0xH100'", "8xH100"]),
    "negative ranks": (("gpt2", "--on=-8xH100"), ["--on cannot be '-8xH100'", "8xH100"]),
    "part of a rank": (("gpt2", "--on", "1.5xH100"), ["--on cannot be '1.5xH100'", "8xH100"]),
    "absurd ranks": (("gpt2", "--on", "99999999xH100"), ["--on cannot be '99999999xH100'", "1,048,576"]),
    "heads": (("llama-3.1-8b", "--on", "6xH100", "--tensor-ranks", 3), ["tensor 3 does not divide 32 heads", "come out even"]),
    "ranks": (("llama-3.1-8b", "--on", "8xH100", "--tensor-ranks", 3), ["tensor 3 does not divide 8 ranks", "divides the number"]),
    "pipeline": (("gpt2", "--on", "16xH100", "--pipeline-ranks", 16), ["longer than the 12 blocks"]),
    "rows": (("gpt2", "--on", "7xH100", "--batch", 12, "--pipeline-ranks", 1), ["no layout of so many ranks", "--batch"]),
    "experts": (("gpt2", "--on", "8xH100", "--expert-ranks", 8), ["gpt2 has no experts"]),
    "positions": (("gpt2", "--context", 4000), ["--context 4,000 is longer", "at most 1,024"]),
    "negative context": (("gpt2", "--context", -1), ["--context cannot be '-1'", "a whole number"]),
    "negative rows": (("gpt2", "--batch", -3), ["--batch cannot be '-3'", "a whole number"]),
    "negative tokens": (("gpt2", "--tokens=-3e9"), ["--tokens cannot be '-3e9'", "a number"]),
    "absurd tokens": (("gpt2", "--tokens", "1e30"), ["--tokens cannot be '1e30'", "a number"]),
    "bits": (("gpt2", "--bits", 5), ["--bits cannot be '5'", "'4'"]),
    "bits of a training": (("gpt2", "--bits", 4), ["--bits 4 does not go with a training of all weights", "--method lora"]),
    "lora of a pretraining": (("gpt2", "--stage", "pretrain", "--method", "lora"), ["--method lora does not go", "--stage finetune"]),
    "layout of a cnn": (("resnet-50", "--tensor-ranks", 1), ["resnet has no closed form", "no --tensor-ranks"]),
    "tokens of a cnn": (("resnet-50", "--context", 128), ["resnet reads no tokens", "no --context"]),
    "stage": (("gpt2", "--stage", "train"), ["--stage cannot be 'train'", "'pretrain'"]),
}  # fmt: skip


@pytest.mark.parametrize("words, parts", BAD.values(), ids=BAD)
def test_what_cannot_be_planned_is_refused_in_three_parts(ask, words, parts):
    status, out, err = ask(*words)
    assert status == 2 and not out and "Traceback" not in err
    assert "\n  wanted  " in err and "\n  next    " in err
    assert all(part in err for part in parts), err


@pytest.mark.parametrize(
    "words",
    [("gpt-3-175b", *(word for name, value in GPT3.items() for word in (f"--{name}", value))), ("llama-3.1-8b", "--stage", "serve"),
     ("resnet-50", "--on", "8xV100")],
    ids=["training", "serving", "a model without a closed form"],
)  # fmt: skip
def test_the_page_stands_alone_in_two_languages_with_units(ask, tmp_path, words):
    status, out, _ = ask(*words, "--out", tmp_path / "plan.html")
    page = (tmp_path / "plan.html").read_text("utf-8")
    assert (
        status == 0
        and "wrote" in out
        and "<script" not in page
        and "http" not in page.replace("http-equiv", "").replace("http://www.w3", "")
    )
    assert "memory" in page and "显存" in page and " GB" in page and page.count("<svg") >= 2
    assert '<article class="en"' in page and '<article class="zh"' in page and "accelerators" in page and "加速器数量" in page


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_counted(ask, tmp_path):
    status, _, err = ask("no-such-model", "--out", tmp_path)
    assert status == 2 and "is a folder" in err and "choose another --out" in err


def test_rows_needed_are_told_from_short_trainings_with_intervals(reviews, monkeypatch):
    monkeypatch.setattr(_learning_curve, "SHARES", (1 / 16, 1 / 8, 1 / 4))
    monkeypatch.setattr(_learning_curve, "RUNS", 2)
    options = {"data": str(reviews), "task": "text-classification", "on": "laptop", "quality": 0.9}
    report = penjing.plan("new:bert-tiny", runtime=Runtime(threads=1, quiet=True), **options)
    found = report.facts["rows_needed"]
    assert len(found["errors"]) == 3 and all(len(runs) == 2 for runs in found["errors"].values())
    assert found["twice"]["rows"] == 2 * found["now"]["rows"] and found["twice"]["quality"] >= found["now"]["quality"]
    assert all(point["low"] <= point["high"] for point in (found["now"], found["twice"]))
    assert found["aim"]["quality"] == 0.9
    assert "twice as many" in told(report) and "aim     90" in told(report)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--quality", "0.9"), "--task and --quality are of the rows of --data"),
        (("--stage", "serve", "--data", "x"), "--data does not go with --stage serve"),
    ],
)
def test_rows_and_what_belongs_to_them_are_asked_for_together(ask, words, said):
    status, _, error = ask("new:bert-tiny", *words)
    assert status == 2 and said in error


def test_too_few_rows_give_no_learning_curve(ask, tmp_path):
    path = write_reviews(tmp_path / "few.csv", 60)
    status, _, error = ask("new:bert-tiny", "--data", path, "--task", "text-classification", "--on", "laptop")
    assert status == 2 and "would be a guess" in error and "at least 128 train rows" in error
