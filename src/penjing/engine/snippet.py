"""The few lines of Python that a card shows for using its model: plain transformers, or an engine and its file, never penjing."""

import json
import math
from typing import Any

from penjing.core.find import find

_TORCH = """\
import torch
from transformers import {model}, {processor}
{imports}
folder = {folder}  # or where you put it
processor = {processor}.from_pretrained(folder)
model = {model}.from_pretrained(folder{trust}).eval()
inputs = processor({example}, return_tensors="pt"{more}){cast}
with torch.inference_mode():
    outputs = model(**inputs)
{names} = {taken}
{answer}
"""
_WRITING = """\
from transformers import {model}, {processor}
{imports}
folder = {folder}  # or where you put it
processor = {processor}.from_pretrained(folder)
model = {model}.from_pretrained(folder{trust}).eval()
inputs = processor({example}, return_tensors="pt"{more})
written = model.generate(**inputs)
print(processor.batch_decode(written, skip_special_tokens=True))
"""
_ONNXRUNTIME = """\
import json
from pathlib import Path

import onnxruntime
from transformers import {processor}
{imports}
folder = Path({folder})  # or where you put it
processor = {processor}.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder / "model.onnx")
inputs = processor({example}, return_tensors="np"{more})
[{names}] = session.run([{quoted}], {{entry.name: inputs[entry.name] for entry in session.get_inputs()}})
labels = json.loads((folder / "config.json").read_text("utf-8"))["id2label"]
{answer}
"""
_WRITING_ONNXRUNTIME = """\
from pathlib import Path

import numpy
import onnxruntime
from transformers import {processor}
{imports}
folder = Path({folder})  # or where you put it
processor = {processor}.from_pretrained(folder)
session = onnxruntime.InferenceSession(folder / "model.onnx")
inputs = processor({example}, return_tensors="np"{more})
tokens, mask = inputs["input_ids"], inputs["attention_mask"]
kept = {{entry.name: numpy.zeros((1, entry.shape[1], 0, entry.shape[3]), "float32") for entry in session.get_inputs()[2:]}}
for _ in range(20):
    {names}, *kept_now = session.run(None, {{"input_ids": tokens, "attention_mask": mask, **kept}})
    tokens, mask, kept = {names}[:, -1:].argmax(-1), numpy.append(mask, [[1]], axis=1), dict(zip(kept, kept_now))
    print(processor.decode(tokens[0]), end="")
"""
_OPENVINO = """\
import json
from pathlib import Path

import openvino
from transformers import {processor}
{imports}
folder = Path({folder})  # or where you put it
processor = {processor}.from_pretrained(folder)
model = openvino.Core().compile_model(folder / "openvino_model.xml", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
inputs = processor({example}, return_tensors="np"{more})
outputs = model({{port.any_name: inputs[port.any_name] for port in model.inputs}})
{names} = {taken}
labels = json.loads((folder / "config.json").read_text("utf-8"))["id2label"]
{answer}
"""
_ANSWERS = {  # problem_type of config.json -> what its logits say
    "multi_label_classification": "print([[{label} for i, logit in enumerate(row) if logit > {least:.4g}] for row in logits.tolist()])",
    "regression": "print(logits[:, 0].tolist())",
}
_ONE_LABEL = "print([{label} for i in logits.argmax(-1).tolist()])"
_BY_MEDIA = {  # what the code imports, the question, what the processor is told beside it
    "text": ("", '["Any text."]', ", truncation=True"),
    "image": ("from PIL import Image\n", '[Image.open("picture.png").convert("{mode}")]', ""),
    "sound": (
        "from transformers.audio_utils import load_audio\n",
        '[load_audio("sound.wav", processor.sampling_rate)]',
        ", sampling_rate=processor.sampling_rate",
    ),
}
_ENGINES = {"torch": _TORCH, "onnxruntime": _ONNXRUNTIME, "openvino": _OPENVINO}


def snippet(task: str, engine: str, folder: str, config: dict[str, Any], writes: bool = False) -> str:
    """How to ask a model directory one question without penjing.

    engine    what opens `folder`: "torch", "onnxruntime" or "openvino"
    config    config.json: its auto_map says whether the directory brings code, its num_channels how pictures are read, its
              dtype in what they are given
    writes    whether an artefact of onnxruntime can be asked token by token
    """
    kind = find("tasks", task).TASK
    mode = "L" if config.get("num_channels") == 1 else "RGB"
    imports, *usual = _BY_MEDIA[kind.media]
    example, more = kind.question or usual
    answer = kind.answer or _ANSWERS.get(config.get("problem_type") or "", _ONE_LABEL)
    threshold = config.get("threshold", 0.5)  # a chance, of which the logit is the logarithm of the odds
    taken = "outputs.{}" if engine == "torch" else 'outputs["{}"]'
    label = "model.config.id2label[i]" if engine == "torch" else "labels[str(i)]"
    writing = {"torch": _WRITING, **({"onnxruntime": _WRITING_ONNXRUNTIME} if writes else {})} if kind.generates else {}
    template = (_ENGINES | writing)[engine]
    return template.format(
        model=kind.auto_model.__name__,
        processor=kind.auto_processor.__name__,
        imports=imports,
        folder=json.dumps(folder, ensure_ascii=False),
        trust=", trust_remote_code=True" if "auto_map" in config else "",
        example=example.format(mode=mode),
        answer=answer.format(label=label, least=math.log(threshold / (1 - threshold))),
        more=more,
        cast=".to(model.dtype)" if kind.media != "text" and config.get("dtype") == "bfloat16" else "",
        names=", ".join(kind.reads),
        quoted=", ".join(map(json.dumps, kind.reads)),
        taken=", ".join(map(taken.format, kind.reads)),
    )
