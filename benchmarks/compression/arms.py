"""One model of a comparison, in a process of its own: it loads, and answers from text to label until its standard input ends.

    python benchmarks/compression/arms.py NAME FOLDER THREADS

A line in is a JSON list of texts, a line out {"labels": [...], "ms": taken}. The first line out, when it has answered once, is {"bytes": of
the files that it opens}. What an arm makes of the parent is kept in FOLDER/NAME; FOLDER/parent and FOLDER/train.csv are there.
`penjing:DIRECTORY` is a model of penjing, on its own engine; the other names are those of ARMS.
"""

import contextlib
import csv
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[list[str]], list[str]]
LENGTH, CALIBRATION_ROWS, EPOCHS = 128, 300, 3


def train_rows(folder: Path) -> tuple[list[str], list[str]]:
    """Texts and labels of the training rows."""
    with (folder / "train.csv").open(newline="", encoding="utf-8") as file:
        pairs = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    return [text for text, _ in pairs], [label for _, label in pairs]


def penjing_model(directory: Path, threads: int) -> tuple[Answer, int]:
    """A model directory as penjing's server runs it."""
    from penjing.core.model_dir import ModelDir
    from penjing.core.runtime import Runtime
    from penjing.engine import load
    from penjing.serve.hosted import Hosted

    load.register_families()
    base = ModelDir.open(directory)
    hosted = Hosted("small", base, Runtime(threads=threads, quiet=True))

    def answer(texts: list[str]) -> list[str]:
        return [said.prediction.value for said in hosted.answer([hosted.encode({"text": text}) for text in texts])]

    return answer, base.bytes()


def tokenized(folder: Path) -> tuple[Callable[[list[str]], dict], list[str]]:
    """The parent's tokenizer, giving padded numpy arrays, and its labels in order."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "parent")
    named = json.loads((folder / "parent/config.json").read_text())["id2label"]
    return lambda texts: dict(tokenizer(texts, padding=True, truncation=True, max_length=LENGTH, return_tensors="np")), [
        named[number] for number in sorted(named, key=int)
    ]


def parent(folder: Path, **words):
    """The fine-tuned parent as a module of transformers."""
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(folder / "parent", **words).eval()


def size(*paths: Path) -> int:
    """Bytes of what an engine opens: its own files, and the tokenizer's."""
    files = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def by_torch(model, folder: Path) -> tuple[Answer, int]:
    """An answer by a torch module of the parent's kind; the bytes are those of its weights as safetensors."""
    import torch

    encode, labels = tokenized(folder)

    @torch.inference_mode()
    def answer(texts: list[str]) -> list[str]:
        inputs = {name: torch.from_numpy(value) for name, value in encode(texts).items()}
        return [labels[i] for i in model(**inputs).logits.argmax(-1).tolist()]

    held = {id(t): t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers())}
    return answer, sum(held.values()) + size(folder / "parent/tokenizer.json", folder / "parent/config.json")


def torch_bf16(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """The parent in bf16."""
    import torch

    return by_torch(parent(folder, dtype=torch.bfloat16), folder)


def torch_bf16_compiled(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """The parent in bf16, compiled."""
    import torch

    whole = parent(folder, dtype=torch.bfloat16)
    answer, held = by_torch(whole, folder)
    whole.forward = torch.compile(whole.forward, dynamic=True)
    return answer, held


def openvino_model(folder: Path):
    """The parent as a graph of OpenVINO."""
    import openvino
    import torch

    inputs = {name: torch.ones(2, 8, dtype=torch.long) for name in ("input_ids", "attention_mask", "token_type_ids")}
    return openvino.convert_model(parent(folder), example_input=inputs)


def by_openvino(build: Callable, made: Path, folder: Path, threads: int, precision: str) -> tuple[Answer, int]:
    """An answer by OpenVINO; what is built is written down first, so that its bytes are those of files."""
    import openvino

    encode, labels = tokenized(folder)
    if not (made / "model.xml").exists():
        openvino.save_model(build(), made / "model.xml", compress_to_fp16=precision == "bf16")
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    compiled = openvino.Core().compile_model(made / "model.xml", "CPU", settings)
    takes = {port.any_name for port in compiled.inputs}

    def answer(texts: list[str]) -> list[str]:
        found = compiled({name: value for name, value in encode(texts).items() if name in takes})
        return [labels[i] for i in found[compiled.output(0)].argmax(-1).tolist()]

    return answer, size(made, folder / "parent/tokenizer.json")


def openvino_bf16(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """The parent, its arithmetic in bf16; its weights are stored in 16 bits."""
    return by_openvino(lambda: openvino_model(folder), made, folder, threads, "bf16")


def nncf_int8(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """NNCF's post-training quantization of the parent for OpenVINO, calibrated on training rows."""

    def build():
        import nncf

        encode, _ = tokenized(folder)
        calibration = nncf.Dataset(train_rows(folder)[0][:CALIBRATION_ROWS], lambda text: encode([text]))
        return nncf.quantize(openvino_model(folder), calibration, model_type=nncf.ModelType.TRANSFORMER)

    return by_openvino(build, made, folder, threads, "f32")


def onnx_graph(model, path: Path) -> None:
    """Write a module of the parent's kind as an ONNX graph with open axes."""
    import torch
    from torch.export import Dim

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            return self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits

    model.set_attn_implementation("eager")  # sdpa leaves a mask out whose example masks nothing
    examples = tuple(torch.ones(2, 8, dtype=torch.long) for _ in range(3))  # one tensor three times would be one input
    axes = ({0: Dim("batch"), 1: Dim("sequence")},) * 3
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        Logits().eval(), examples, path, dynamo=True, dynamic_shapes=axes, input_names=names, external_data=False, verbose=False
    )


def dynamic_int8(build: Callable, made: Path, folder: Path, threads: int) -> tuple[Answer, int]:
    """ONNX Runtime's dynamic quantization, each output channel with a scale of its own."""
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not (made / "model.onnx").exists():
        plain = made / "plain.onnx"
        onnx_graph(build(), plain)
        quantize_dynamic(plain, made / "model.onnx", per_channel=True, weight_type=QuantType.QInt8)
        plain.unlink()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(made / "model.onnx", options, providers=["CPUExecutionProvider"])
    encode, labels = tokenized(folder)
    takes = {node.name for node in session.get_inputs()}

    def answer(texts: list[str]) -> list[str]:
        (logits,) = session.run(None, {name: value for name, value in encode(texts).items() if name in takes})
        return [labels[i] for i in logits.argmax(-1).tolist()]

    return answer, size(made, folder / "parent/tokenizer.json")


def onnxruntime_int8(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """The parent, quantized by ONNX Runtime."""
    return dynamic_int8(lambda: parent(folder), made, folder, threads)


def torchao_int8(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """torchao's dynamic int8, compiled, as it must be to be fast."""
    import torch
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    whole = parent(folder)
    int8 = sum(m.weight.numel() for m in whole.modules() if isinstance(m, torch.nn.Linear))
    held = sum(p.numel() * 4 for p in whole.parameters()) - 3 * int8
    quantize_(whole, Int8DynamicActivationInt8WeightConfig())
    answer, _ = by_torch(whole, folder)
    whole.forward = torch.compile(whole.forward, dynamic=True)
    return answer, held + size(folder / "parent/tokenizer.json", folder / "parent/config.json")


def torch_pruning(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """torch-pruning's heads and feed-forward widths down to the blocks' parameters of penjing's child, trained on, then int8 as above."""
    return dynamic_int8(lambda: pruned(folder), made, folder, threads)


def pruned(folder: Path):
    """The parent with fewer heads and neurons, which has learnt the labels again."""
    import torch
    import torch_pruning
    from torch import nn

    whole = parent(folder)
    texts, labels = train_rows(folder)
    encode, names = tokenized(folder)
    wanted = int(os.environ["BLOCK_PARAMETERS"])
    blocks = sum(p.numel() for p in whole.bert.encoder.parameters())
    attentions = [layer.attention.self for layer in whole.bert.encoder.layer]
    heads = {linear: a.num_attention_heads for a in attentions for linear in (a.query, a.key, a.value)}
    example = {name: torch.ones(1, 8, dtype=torch.long) for name in ("input_ids", "attention_mask", "token_type_ids")}
    pruner = torch_pruning.pruner.MetaPruner(
        whole, example, importance=torch_pruning.importance.GroupMagnitudeImportance(), pruning_ratio=1 - (wanted / blocks) ** 0.5,
        num_heads=heads, prune_num_heads=True, prune_head_dims=False, head_pruning_ratio=1 - (wanted / blocks) ** 0.5,
        ignored_layers=[whole.classifier], output_transform=lambda out: out.logits.sum(),
    )  # fmt: skip
    pruner.step()
    for a in attentions:
        a.num_attention_heads = pruner.num_heads[a.query]
        a.all_head_size = a.query.out_features
        a.attention_head_size = a.all_head_size // a.num_attention_heads
    torch.manual_seed(0)
    steps = EPOCHS * len(texts) // 32
    optimizer = torch.optim.AdamW(whole.parameters(), lr=2e-4, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-4, steps + 1, anneal_strategy="linear")
    whole.train()
    for _ in range(steps):
        rows = torch.randint(len(texts), (32,)).tolist()
        inputs = {name: torch.from_numpy(value) for name, value in encode([texts[i] for i in rows]).items()}
        loss = nn.functional.cross_entropy(whole(**inputs).logits, torch.tensor([names.index(labels[i]) for i in rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return whole.eval()


def fasttext_linear(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """fastText's classifier of words and pairs of words, compressed as it does it itself."""
    import fasttext

    if not (made / "model.ftz").exists():
        lines = [f"__label__{label} {' '.join(text.split())}" for text, label in zip(*train_rows(folder))]
        (made / "train.txt").write_text("\n".join(lines), "utf-8")
        model = fasttext.train_supervised(str(made / "train.txt"), epoch=25, lr=0.5, wordNgrams=2, thread=1, verbose=0)
        model.quantize(str(made / "train.txt"), retrain=True, cutoff=100_000, verbose=0)
        (made / "train.txt").unlink()
        model.save_model(str(made / "model.ftz"))
    model = fasttext.load_model(str(made / "model.ftz"))

    def answer(texts: list[str]) -> list[str]:
        found = model.f.multilinePredict([text + "\n" for text in texts], 1, 0.0, "strict")
        return [labels[0].removeprefix("__label__") for labels in found[0]]

    return answer, size(made)


def tfidf_linear(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """Words and pairs of words, and a linear model."""
    import pickle

    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=10.0, max_iter=1000))
    model.fit(*train_rows(folder))
    return lambda texts: model.predict(texts).tolist(), len(pickle.dumps(model))


def model2vec(folder: Path, made: Path, threads: int) -> tuple[Answer, int]:
    """Static embeddings that Model2Vec distills from the parent's encoder, and a linear model on them."""
    import pickle

    from model2vec.distill import distill_from_model
    from sklearn.linear_model import LogisticRegression
    from transformers import AutoModel, AutoTokenizer

    static = distill_from_model(
        AutoModel.from_pretrained(folder / "parent"), AutoTokenizer.from_pretrained(folder / "parent"), pca_dims=256
    )
    static.save_pretrained(made)
    texts, labels = train_rows(folder)
    head = LogisticRegression(C=10.0, max_iter=1000).fit(static.encode(texts), labels)
    return lambda given: head.predict(static.encode(given)).tolist(), size(made) + len(pickle.dumps(head))


ARMS = {
    "torch bf16": torch_bf16,
    "torch bf16 compiled": torch_bf16_compiled,
    "openvino bf16": openvino_bf16,
    "onnxruntime dynamic int8": onnxruntime_int8,
    "openvino nncf int8": nncf_int8,
    "torchao int8 compiled": torchao_int8,
    "torch-pruning, onnxruntime int8": torch_pruning,
    "fastText": fasttext_linear,
    "tf-idf, linear": tfidf_linear,
    "Model2Vec, linear": model2vec,
}


def main() -> None:
    """Serve one arm."""
    name, folder, threads = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the replies
    import torch

    torch.set_num_threads(threads)
    if name.startswith("penjing:"):
        answer, held = penjing_model(folder / name.removeprefix("penjing:"), threads)
    else:
        made = folder / name.replace(",", "").replace(" ", "-")
        made.mkdir(exist_ok=True)
        answer, held = ARMS[name](folder, made, threads)
    for texts in (["a film"], ["a film", "and another one that is somewhat longer"]):
        answer(texts)
    print(json.dumps({"bytes": held}), file=replies, flush=True)
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin:
            texts = json.loads(line)
            start = time.perf_counter()
            labels = answer(texts)
            print(json.dumps({"labels": labels, "ms": 1000 * (time.perf_counter() - start)}), file=replies, flush=True)


if __name__ == "__main__":
    main()
