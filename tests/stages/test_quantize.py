"""quantize with an engine that is named, and with one that it chooses itself."""

import importlib.util
import sys

import pytest

import penjing
from penjing.core.errors import MissingExtra, ModelError, OptionError
from penjing.engine import backends, load
from penjing.methods.quantize import _graph
from penjing.stages import _frame, _search, quantize

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install 'penjing[openvino]'"
)


@needs_openvino
def test_auto_tries_each_engine_keeps_the_fastest_and_says_so(tmp_path, image_parent, runtime, monkeypatch):
    monkeypatch.setattr(quantize, "MOST_LOSS", -1.0)  # so that any loss is more than is usual
    model, report = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "small", runtime=runtime, engine="auto")
    tried = report.facts["engines"]
    assert {entry["engine"] for entry in tried} == {"onnxruntime int8", "openvino int8"}
    chosen = [entry for entry in tried if entry["status"] == "chosen"]
    assert [entry["engine"] for entry in chosen] == [f"{model.engine} int8"] == [report.facts["latency"]["engine"]["child"]]
    assert all(entry["latency_ms"].value >= chosen[0]["latency_ms"].value for entry in tried if entry["status"] == "slower")
    assert chosen[0]["flips"] == pytest.approx(report.facts["flips"]["share"].value * chosen[0]["rows"])
    assert model.lineage[-1]["options"] == {"engine": "auto"}
    written = (model.path / "README.md").read_text("utf-8")
    assert f"{model.engine} int8 was chosen as the fastest" in written and "more than the half point that is usual" in written


@needs_openvino
def test_an_artefact_of_openvino_passes_the_gate_and_answers_as_its_card_says(tmp_path, image_parent, runtime):
    model, report = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "small", runtime=runtime, engine="openvino")
    assert model.engine == "openvino" and report.facts["parity"]["difference"] < 1e-5
    apart = report.facts["parity"]["parent"]
    assert apart["rows"] == report.after["accuracy"].n and 0 < apart["typical"] <= apart["largest"] < apart["spread"]
    again = penjing.evaluate(model, "sklearn:digits", runtime=runtime, rows="tune")
    assert again.after["accuracy"].value == report.after["accuracy"].value
    assert "library_name: openvino" in (model.path / "README.md").read_text("utf-8")


def test_an_artefact_whose_sums_would_overflow_here_is_refused(tmp_path, image_parent, runtime, monkeypatch):
    model, report = penjing.quantize(image_parent, "sklearn:digits", out=tmp_path / "small", runtime=runtime)
    assert model.meta["wide_sums"] is not report.facts["quantized"]["reduce_range"]
    monkeypatch.setattr(_graph, "overflows", lambda: True)
    monkeypatch.setattr(backends, "processor", lambda: {"processor": "an old one", "instructions": ["avx2"]})
    with pytest.raises(ModelError, match="was made on a processor that adds products of 8-bit numbers in 32 bits; an old one cuts"):
        penjing.evaluate(model.record(wide_sums=True), "sklearn:digits", runtime=runtime, rows="tune")
    assert penjing.evaluate(model.record(wide_sums=False), "sklearn:digits", runtime=runtime, rows="tune").after["accuracy"].value > 0.5


def test_a_missing_engine_is_named_before_the_model_is_loaded(tmp_path, text_parent, reviews, runtime, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr(load, "load", None)
    for stage in (penjing.quantize, penjing.shrink):
        with pytest.raises(MissingExtra, match=r"(?s)openvino.*wanted.*next +pip install 'penjing\[openvino\]'"):
            stage(text_parent, reviews, out=tmp_path / "small", runtime=runtime, engine="openvino")
    assert list(tmp_path.iterdir()) == []


def test_auto_takes_what_is_installed(monkeypatch):
    options = _frame.stage_options("quantize", {"engine": "auto"})
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert quantize.possible_engines(options) == ["onnxruntime"]
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"penjing\[onnx\]"):
        quantize.possible_engines(options)


def test_an_engine_that_a_method_does_not_write_for_is_refused(monkeypatch):
    from penjing.methods.quantize import int8

    monkeypatch.setattr(int8, "ENGINES", ["onnxruntime"])
    with pytest.raises(OptionError, match=r"(?s)int8 writes nothing for openvino.*wanted  onnxruntime or auto"):
        quantize.possible_engines(_frame.stage_options("quantize", {"engine": "openvino"}))
    with pytest.raises(OptionError, match=r"(?s)--engine cannot be 'openvina'.*wanted  'openvino'"):
        _frame.stage_options("quantize", {"engine": "openvina"})


@pytest.mark.parametrize(
    ("instructions", "said"),
    [
        (["avx2", "avx512f", "avx512_vnni"], "int8 kernels of this processor: AVX512-VNNI"),
        (["avx512_vnni", "amx_int8"], "int8 kernels of this processor: AMX"),
        (["asimd", "asimddp"], "int8 kernels of this processor: ASIMD dot product"),
        (["avx2"], "Old tells of no instruction that adds up products of 8-bit numbers: int8 may be slower than fp32 here"),
    ],
)
def test_what_int8_may_bring_on_this_processor_is_said_first(instructions, said, monkeypatch, capsys):
    monkeypatch.setattr(quantize, "processor", lambda: {"processor": "Old", "instructions": instructions})
    quantize.foretell(penjing.Runtime())
    assert capsys.readouterr().err.strip() == said


def test_shrink_settles_one_engine_for_all_candidates_once(text_parent, tmp_path, runtime, monkeypatch):
    options = _frame.stage_options("shrink", {"engine": "auto"})
    search = _search.Search(text_parent, text_parent, (), None, None, options, runtime, tmp_path, None, [])
    monkeypatch.setattr(load, "load", lambda *_: None)
    monkeypatch.setattr(quantize, "choose_engine", lambda engines, *_: (engines[-1], ["tried"]))
    settled, tried = _search.settle_engine(search, ["onnxruntime", "openvino"])
    assert settled.options.engine == "openvino" and tried == ["tried"]
    monkeypatch.delattr(quantize, "choose_engine")
    assert _search.settle_engine(search, ["onnxruntime", "openvino"]) == (settled, tried)
    assert _search.settle_engine(search, []) == (search, [])
