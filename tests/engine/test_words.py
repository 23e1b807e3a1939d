import pytest

from penjing.core.report import Measure, Report
from penjing.engine.words import aligned, amount, clipped, columns, duration, interval, learnt_sentence, points, settings, share, wrapped


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("bytes", 999, "999 B"),
        ("bytes", 1000, "1.00 kB"),
        ("bytes", 999_600, "1.00 MB"),  # never 1000 kB
        ("peak_memory_bytes", 1_410_000_000, "1.41 GB"),
        ("parameters", 22_713_216, "22.7 M"),
        ("latency_ms", 0.0312, "0.0312 ms"),
        ("latency_ms", 12.34, "12.3 ms"),
        ("latency_ms", 9.999, "10.0 ms"),
        ("accuracy", 0.98061, "98.1 %"),
        ("perplexity", 31.416, "31.42"),
    ],
)
def test_numbers_have_three_digits_and_their_unit(name, value, said):
    assert amount(name, value) == said


def test_a_loss_below_one_is_not_taken_for_a_share():
    assert amount("loss", 0.31, better="lower") == "0.31"


@pytest.mark.parametrize(("seconds", "said"), [(4.21, "4.2 s"), (59.96, "1 min 00 s"), (814.2, "13 min 34 s"), (7500, "2 h 05 min")])
def test_long_times_are_in_minutes_and_hours(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(("value", "said"), [(0.554, "0.6"), (-0.8, "−0.8"), (0.04, "0.04"), (0.0, "0.0"), (-0.0, "0.0"), (-0.04, "−0.04")])
def test_a_difference_that_is_there_never_reads_as_none(value, said):
    assert points(value) == said


@pytest.mark.parametrize(("value", "said"), [(1.0, "100 %"), (0.1234, "12.3 %"), (0.0065, "0.65 %"), (0.00005, "0.005 %")])
def test_a_small_share_never_reads_as_none(value, said):
    assert share(value) == said


def test_what_was_trained_is_told_with_its_share_its_time_and_how_it_is_stored():
    report = Report("finetune", {})
    assert learnt_sentence(report) == ""
    report.facts["training"] = {"learnt": {"parameters": 336_000, "share": 0.0148, "note": "Merged."}, "seconds": 130.0}
    assert learnt_sentence(report) == "336 k parameters were trained, 1.48 % of the number that the model has, in 2 min 10 s. Merged."
    report.facts["training"] = {"learnt": {"parameters": 22_713_216, "share": 1.0, "note": ""}, "seconds": 130.0}
    assert learnt_sentence(report) == "All 22.7 M parameters were trained, in 2 min 10 s."


def test_the_size_of_a_batch_is_told_where_memory_decided_it():
    learnt = {"learnt": {"parameters": 1000, "share": 1.0, "note": ""}, "seconds": 130.0, "batch": (138, 24_576)}
    assert learnt_sentence(Report("finetune", {}, options={"batch_tokens": 4096}, facts={"training": learnt})).endswith("10 s.")
    said = learnt_sentence(Report("finetune", {}, options={"batch_tokens": "auto"}, facts={"training": learnt}))
    assert said.endswith("Batches had at most 138 rows and 24,576 tokens, for which memory had room.")


def test_an_interval_says_its_unit_once_unless_its_ends_differ_in_it():
    assert interval("accuracy", Measure(0.5, "share", 0.4, 0.6)) == "40.0–60.0"
    assert interval("bytes", Measure(1000, "bytes", 900, 1100)) == "900 B–1.10 kB"
    assert interval("bytes", Measure(1000, "bytes")) == ""


def test_options_that_hold_nothing_are_left_out():
    assert settings({"num_epochs": 3, "budget": None, "quantize": False, "training": {"rate": 1e-4}}) == (
        "num-epochs 3, quantize no, training (rate 0.0001)"
    )


def test_chinese_letters_take_two_columns_and_paths_keep_their_end():
    assert columns("酒店ab") == 6
    assert clipped("models/酒店", 6) == "…/酒店"
    lines = aligned(("", "模型"), [("a", "酒店"), ("b", "x" * 200)]).splitlines()
    assert max(map(columns, lines)) <= 100 and lines[2].endswith("x") and "…" in lines[2]
    assert max(map(columns, wrapped("基线 " * 100).splitlines())) <= 100
