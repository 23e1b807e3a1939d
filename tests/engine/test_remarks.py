"""What a card says of an artefact, from figures made by hand."""

import pytest

from penjing.core.report import Measure, Report
from penjing.engine.remarks import quantized_sentence, remarks


@pytest.fixture
def report():
    quantized = {"engine": "openvino", "bits": 8, "int8_share": 0.998, "kernels": "AVX512-VNNI", "reduce_range": False}
    engines = {"parent": "torch fp32", "child": "openvino int8"}
    latency = {"ratio": 4.0, "low": 3.0, "high": 5.0, "threads": 1, "batch": 1, "engine": engines}
    apart = {"largest": 0.44, "typical": 0.0312, "spread": 2.1, "rows": 256}
    return Report("quantize", {}, facts={"quantized": quantized, "latency": latency, "parity": {"difference": 0.0, "parent": apart}})


def tried(engine, milliseconds, flips, status):
    return {"engine": engine, "latency_ms": Measure(milliseconds, "ms"), "flips": flips, "rows": 872, "threads": 1, "status": status}


def test_what_is_small_and_how_far_the_logits_moved_is_said(report):
    assert quantized_sentence(report) == (
        "99.8 % of the weights of its layers have 8 bits, the rest 32; kernels of this processor: AVX512-VNNI. On 256 tuning rows its "
        "logits are 0.031 from the parent's (root mean square; at most 0.44), where those spread by 2.1."
    )
    assert remarks(report) == []


def test_other_models_have_nothing_to_remark():
    assert quantized_sentence(Report("prune", {})) == "" and remarks(Report("prune", {})) == []


def test_what_a_pruned_model_has_left_and_that_zeros_save_nothing_is_said():
    removed = {"hidden_width": "256 of 384", "heads": "8 of 12", "importance_lost_share": 0.2}
    rounds = Report("prune", {}, facts={"removed": removed, "rounds": [{}, {}]})
    assert remarks(rounds) == [
        "of its parent it has 8 of 12 heads in each attention and 256 of 384 channels of its hidden width, the rest taken away in 2 rounds"
    ]
    (zeros,) = remarks(Report("prune", {}, facts={"removed": {"zero_share": 0.5, "weights": 1000}}))
    assert (
        zeros.startswith("50.0 % of the 1,000 weights in the layers of its blocks are zero")
        and "bytes and time are what they were" in zeros
    )


def test_cells_that_only_the_file_holds_in_int8_are_named(report):
    report.facts["quantized"] |= {"fp32_cells": ["LSTM"]}
    assert remarks(report) == ["its LSTM cells have 8 bits in the file and calculate in 32: there are no int8 kernels for them"]


def test_a_processor_without_kernels_and_with_sums_that_overflow_is_noted(report):
    report.facts["quantized"] |= {"kernels": None, "reduce_range": True}
    first, second = remarks(report)
    assert "no instruction that adds up products of 8-bit numbers" in first
    assert "7 bits, not 8" in second and "overflow" in second
    assert "kernels of this processor" not in quantized_sentence(report)


def test_an_artefact_that_is_slower_than_its_parent_is_noted(report):
    report.facts["latency"] |= {"ratio": 0.8, "low": 0.64, "high": 0.96}
    assert remarks(report) == ["on this machine openvino int8 is 1.25 (1.04–1.56) × slower than its parent, torch fp32"]


def test_every_engine_that_was_tried_is_named_with_its_figures_and_the_reason_of_the_choice(report):
    report.facts["engines"] = [tried("onnxruntime int8", 3.4, 1, "chosen"), tried("openvino int8", 5.1, 2, "slower")]
    assert remarks(report) == [
        "engines tried for one row on 1 thread: onnxruntime int8 3.40 ms and 1 of 872 answers flipped; openvino int8 5.10 ms and 2 of 872 "
        "answers flipped; onnxruntime int8 was chosen as the fastest"
    ]
    report.facts["engines"] = [tried("onnxruntime int8", 3.4, 40, "flips more"), tried("openvino int8", 5.1, 2, "chosen")]
    assert remarks(report)[0].endswith("openvino int8 was chosen, as onnxruntime int8 flips more than chance explains")
