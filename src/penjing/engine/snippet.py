"""The few lines of Python that a card shows for using its model: plain transformers, or an engine and its file, never penjing."""

import json
from typing import Any

from penjing.core.find import find

_TORCH = """\
import torch
from transformers import {model}, {processor}
{imports}
folder = {folder}  # or where you put it
processor = {processor}.from_pretrained(folder)
model = {model}.from_pretrained(folder{trust}).eval()
inputs = processor({example}, return_tensors="pt"{more})
with torch.inference_mode():
    logits = model(**inputs).logits
print([model.config.id2label[i] for i in logits.argmax(-1).tolist()])
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
logits = session.run(["logits"], {{entry.name: inputs[entry.name] for entry in session.get_inputs()}})[0]
labels = json.loads((folder / "config.json").read_text("utf-8"))["id2label"]
print([labels[str(i)] for i in logits.argmax(-1).tolist()])
"""
_ENGINES = {"torch": _TORCH, "onnxruntime": _ONNXRUNTIME}


def snippet(task: str, engine: str, folder: str, config: dict[str, Any]) -> str:
    """How to ask a model directory one question without penjing.

    engine    "torch" or "onnxruntime", which opens `folder`/model.onnx
    config    config.json: its auto_map says whether the directory brings code, its num_channels how pictures are read
    """
    kind = find("tasks", task).TASK
    mode = "L" if config.get("num_channels") == 1 else "RGB"
    picture = f'[Image.open("picture.png").convert("{mode}")]'
    return _ENGINES[engine].format(
        model=kind.auto_model.__name__,
        processor=kind.auto_processor.__name__,
        imports="from PIL import Image\n" if kind.media == "image" else "",
        folder=json.dumps(folder, ensure_ascii=False),
        trust=", trust_remote_code=True" if "auto_map" in config else "",
        example=picture if kind.media == "image" else '["Any text."]',
        more=", truncation=True" if kind.media == "text" else "",
    )
