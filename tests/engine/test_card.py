import importlib.util
import json

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from penjing.core.errors import ModelError
from penjing.core.model_dir import ModelDir
from penjing.core.report import Measure, Report
from penjing.engine.card import card, difference, report_of, summary
from penjing.engine.page import page
from penjing.engine.words import columns


def front_matter(text):
    return yaml.safe_load(text.split("---\n")[1])


def sections(text):
    return [line[3:] for line in text.splitlines() if line.startswith("## ")]


def test_the_hub_reads_the_results_of_the_report_from_the_card(shrunk, tmp_path):
    report, meta = shrunk
    path = tmp_path / "README.md"
    path.write_text(card(report, meta), "utf-8")
    data = ModelCard.load(path).data
    assert {r.metric_name.split(" (")[0]: r.metric_value for r in data.eval_results} == {
        "accuracy": report.after["accuracy"].value,
        "macro F1": report.after["macro_f1"].value,
    }
    assert {(r.dataset_name, r.dataset_split, r.task_type) for r in data.eval_results} == {("digits", "proof", "image-classification")}
    read = metadata_load(path)
    assert (read["pipeline_tag"], read["library_name"], read["license"]) == ("image-classification", "onnx", "apache-2.0")
    assert read["metrics"] == ["accuracy", "f1"] and read["tags"] == ["penjing", "finetune", "shrink"]


def test_a_parent_from_the_hub_is_named_and_a_missing_licence_is_not_invented(finetuned):
    text = card(*finetuned)
    assert front_matter(text)["base_model"] == "org/mini"
    assert "license" not in front_matter(text)
    assert "- Data (酒店评论): not stated" in text


def test_a_licence_the_hub_has_no_id_for_is_called_other(shrunk):
    report, meta = shrunk
    report.parent["licence"] = "Research use only"
    read = front_matter(card(report, meta))
    assert (read["license"], read["license_name"]) == ("other", "Research use only")


def test_names_that_mean_something_in_yaml_or_markdown_come_out_as_they_are(shrunk):
    report, meta = shrunk
    report.data["name"] = 'a: "b" | #c\n- <script>'
    text = card(report, meta)
    assert front_matter(text)["model-index"][0]["results"][0]["dataset"]["name"] == report.data["name"]
    body = text.split("---\n", 2)[2]
    assert "<script>" not in body and 'a: "b" \\| #c - &lt;script>' in body


def test_the_verdict_stands_first_and_says_what_the_test_said(shrunk):
    report, meta = shrunk
    body = card(report, meta).split("# small\n\n")[1]
    assert body.startswith(
        "Proven: at most 3.0 points below its parent on 361 rows no step has seen (loss 0.6, upper bound 2.0; one-sided 95 %).\n"
    )


def test_a_missed_floor_says_by_how_much_and_never_proven(shrunk):
    report, meta = shrunk
    report.facts["proof"] |= {"passed": False, "loss": 1.4, "upper": 3.04, "missed_by": 0.04}
    body = card(report, meta).split("# small\n\n")[1].split("\n")[0]
    assert body == (
        "Floor missed by 0.04 points: on 361 rows no step has seen the loss is 1.4 points and may be as much as 3.04 (one-sided 95 %), "
        "where 3.0 points were allowed."
    )


def test_passing_on_tuning_rows_is_not_called_a_proof(shrunk):
    report, meta = shrunk
    report.facts["measured_on"] = "tune"
    text = card(report, meta)
    assert "no proof" in text and "Proven" not in text and "no step has seen" not in text


@pytest.mark.parametrize(
    ("simple", "word"),
    [(0.999, "better"), (0.985, "at least as good"), (0.97, "as good within the interval"), (0.8, "worse")],
)
def test_the_baseline_sentence_compares_with_the_interval_of_the_model(shrunk, simple, word):
    report, meta = shrunk  # the model: 98.1 % (96.1-99.1)
    report.baseline["measures"]["accuracy"] = Measure(simple, "share", n=361)
    assert f"The baseline on the same rows, SVC, is {word}: {100 * simple:.1f} % against 98.1 % (96.1–99.1)" in card(report, meta)


def test_the_table_holds_every_measure_with_interval_and_n(shrunk):
    text = card(*shrunk)
    assert "| accuracy | 98.6 % (96.8–99.4) | 98.1 % (96.1–99.1) | 98.9 % (97.2–99.6) | 361 |" in text
    assert "| size | 1.13 MB | 61.4 kB | 512 kB |  |" in text
    assert "| latency, median | 1.91 ms (1.81–2.02) | 0.31 ms (0.29–0.33) | 0.21 ms | 200 |" in text


def test_speed_is_told_with_engines_threads_and_batch(shrunk):
    report, meta = shrunk
    said = card(report, meta)
    assert "18.4 × fewer bytes" in said  # 1,132,000 / 61,400
    assert "6.16 (5.80–6.40) × faster than its parent: onnxruntime int8 against torch fp32, 1 thread, batch 1" in said
    report.facts["latency"] |= {"ratio": 0.5, "low": 0.4, "high": 0.8}
    assert "2.00 (1.25–2.50) × slower than its parent" in card(report, meta)


def test_parts_that_a_report_lacks_leave_no_heading(shrunk, finetuned):
    assert "The proof" in sections(card(*shrunk)) and "Answers that changed" in sections(card(*shrunk))
    assert sections(card(*finetuned)) == [
        "Results", "Size and speed", "Use", "How it was made", "Limits and notes", "Licences", "Environment",
    ]  # fmt: skip
    bare = Report("export", {"path": "models/bare"})
    assert sections(card(bare, {})) == ["Limits and notes"]


def test_what_was_trained_stands_where_it_says_how_the_model_was_made(finetuned):
    report, meta = finetuned
    report.facts["training"] |= {"learnt": {"parameters": 336_000, "share": 0.0148, "note": "Updates, merged."}, "seconds": 130.0}
    made = card(report, meta).split("## How it was made")[1]
    assert made.strip().startswith("336 k parameters were trained, 1.48 % of the number that the model has, in 2 min 10 s. Updates, mer")
    assert "336 k parameters were trained" in page([("x", report, meta)], "x")


def test_how_often_proof_rows_were_opened_is_on_the_card(shrunk, finetuned):
    assert "The proof rows of these data have been opened 2 times." in card(*shrunk)
    finetuned[0].data["proof_opened"] = 1
    assert "- The proof rows of these data have been opened 1 time." in card(*finetuned)


def test_a_card_is_the_same_from_memory_and_from_report_json(shrunk):
    report, meta = shrunk
    assert card(report, meta) == card(Report.from_json(report.to_json()), meta)


def test_only_a_directory_with_code_of_its_own_asks_for_trust(finetuned):
    report, meta = finetuned
    assert "trust_remote_code" not in card(report, meta)
    meta["config"] = {"auto_map": {"AutoConfig": "penjing_x.XConfig"}}
    assert ".from_pretrained(folder, trust_remote_code=True)" in card(report, meta)


def code(text):
    return text.split("```python\n")[1].split("```")[0]


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1, "Any": 2, "text": 3, ".": 4}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", model_max_length=16)


def test_the_lines_for_transformers_run_as_printed(finetuned, tokenizer, tmp_path, capsys):
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    report, meta = finetuned
    config = BertConfig(vocab_size=5, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                        id2label={0: "差评", 1: "好评"}, label2id={"差评": 0, "好评": 1})  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    report.model["path"] = str(tmp_path / "酒店")
    model.save_pretrained(report.model["path"])
    tokenizer.save_pretrained(report.model["path"])
    capsys.readouterr()
    exec(code(card(report, meta)), {})
    assert capsys.readouterr().out == "['好评']\n"


def onnx_file(path, nodes, name, kind, shape, weights):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    given = onnx.helper.make_tensor_value_info(name, kind, shape)
    logits = onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 2])
    graph = onnx.helper.make_graph(nodes(onnx.helper.make_node), "small", [given], [logits], [onnx.numpy_helper.from_array(*weights)])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    path.mkdir()
    onnx.save(model, path / "model.onnx")


def test_the_lines_for_an_artefact_of_text_run_as_printed(finetuned, tokenizer, tmp_path, capsys):
    import numpy

    def nodes(make):
        return [make("Gather", ["w", "input_ids"], ["rows"]), make("ReduceMean", ["rows"], ["logits"], axes=[1], keepdims=0)]

    report, meta = finetuned
    onnx_file(tmp_path / "m", nodes, "input_ids", 7, ["batch", "length"], (numpy.tile([[0, 1]], (5, 1)).astype("float32"), "w"))
    tokenizer.save_pretrained(tmp_path / "m")
    (tmp_path / "m/config.json").write_text(json.dumps({"model_type": "bert", "id2label": {"0": "差评", "1": "好评"}}), "utf-8")
    report.model |= {"engine": "onnxruntime", "path": str(tmp_path / "m")}
    exec(code(card(report, meta)), {})
    assert capsys.readouterr().out == "['好评']\n"


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed: pip install 'penjing[openvino]'")
def test_the_lines_for_openvino_run_as_printed(finetuned, tokenizer, tmp_path, capsys):
    import numpy

    from penjing.core.openvino import openvino

    def nodes(make):
        return [make("Gather", ["w", "input_ids"], ["rows"]), make("ReduceMean", ["rows"], ["logits"], axes=[1], keepdims=0)]

    report, meta = finetuned
    onnx_file(tmp_path / "m", nodes, "input_ids", 7, ["batch", "length"], (numpy.tile([[0, 1]], (5, 1)).astype("float32"), "w"))
    library = openvino()
    library.save_model(library.Core().read_model(tmp_path / "m/model.onnx"), tmp_path / "m/openvino_model.xml")
    tokenizer.save_pretrained(tmp_path / "m")
    (tmp_path / "m/config.json").write_text(json.dumps({"model_type": "bert", "id2label": {"0": "差评", "1": "好评"}}), "utf-8")
    report.model |= {"engine": "openvino", "path": str(tmp_path / "m")}
    exec(code(card(report, meta)), {})
    assert capsys.readouterr().out == "['好评']\n"


def test_the_lines_for_an_artefact_of_images_run_as_printed(shrunk, tmp_path, capsys, monkeypatch):
    import numpy
    from PIL import Image
    from transformers import ViTImageProcessorPil

    def nodes(make):
        return [make("Flatten", ["pixel_values"], ["flat"]), make("MatMul", ["flat", "w"], ["logits"])]

    report, meta = shrunk
    weights = numpy.stack([numpy.zeros(64), numpy.ones(64)], 1).astype("float32")  # white is "1"
    onnx_file(tmp_path / "m", nodes, "pixel_values", 1, ["batch", 1, 8, 8], (weights, "w"))
    ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5], do_convert_rgb=False).save_pretrained(
        tmp_path / "m"
    )
    meta["config"] = {"model_type": "penjing_cnn", "num_channels": 1, "id2label": {"0": "black", "1": "white"}}
    (tmp_path / "m/config.json").write_text(json.dumps(meta["config"]), "utf-8")
    Image.new("RGB", (8, 8), "white").save(tmp_path / "picture.png")
    report.model["path"] = str(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    exec(code(card(report, meta)), {})
    assert capsys.readouterr().out == "['white']\n"


def test_what_a_stage_prints_fits_a_terminal_and_names_the_five_things(shrunk, finetuned):
    finetuned[0].baseline["name"] = "线性模型" * 20
    for report, said in ((shrunk[0], "Proven"), (finetuned[0], "Accuracy 90.5 %")):
        text = summary(report)
        assert max(columns(line) for line in text.splitlines()) <= 100
        assert text.startswith(said)
        assert all(word in text for word in ("accuracy", "size", "latency"))
    assert "SVC" in summary(shrunk[0]) and "61.4 kB" in summary(shrunk[0]) and "note: The four rows" in summary(shrunk[0])
    assert summary(finetuned[0]).isascii() is False and "线性模型" in summary(finetuned[0])


def test_two_cards_are_set_side_by_side_with_the_difference(shrunk):
    child = shrunk[0]
    parent = Report("finetune", {"path": "models/teacher"}, data=child.data, after=child.before, facts=child.facts)
    lines = {line.split("  ")[1]: line for line in difference(parent, child).splitlines()}
    assert lines["accuracy"].split("  ")[-1].strip() == "−0.6 points"  # 356 against 354 of 361
    assert lines["size"].endswith("18.4 × less")
    assert lines["latency, median"].endswith("6.16 × less")
    assert "not the same rows" not in difference(parent, child)


def test_reports_on_other_rows_are_not_silently_compared(shrunk, finetuned):
    assert difference(finetuned[0], shrunk[0]).endswith("(penjing compare measures both on the same)")
    assert "not the same rows" in difference(finetuned[0], shrunk[0])


def test_a_directory_without_a_report_says_how_to_measure_it(shrunk, tmp_path):
    (tmp_path / "report.json").write_text(shrunk[0].to_json(), "utf-8")
    assert report_of(ModelDir(tmp_path, {})).after == shrunk[0].after
    (tmp_path / "report.json").unlink()
    with pytest.raises(ModelError) as error:
        report_of(ModelDir(tmp_path, {}))
    assert str(error.value) == (
        f"{tmp_path} has no report.json\n"
        "  wanted  a directory that a stage of penjing wrote\n"
        f"  next    penjing evaluate {tmp_path} DATA measures it"
    )
