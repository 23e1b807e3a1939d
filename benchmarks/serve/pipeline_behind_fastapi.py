"""The usual server of a classifier: the pipeline of transformers behind FastAPI, as its tutorials write it.

python benchmarks/serve/pipeline_behind_fastapi.py MODEL PORT THREADS
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

app = FastAPI()


class Ask(BaseModel):
    """A request."""

    inputs: list[str]


@app.post("/predict")
def predict(ask: Ask) -> list[dict[str, object]]:
    """Each text with its label."""
    return classify(ask.inputs)  # type: ignore[no-any-return]


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    classify = pipeline("text-classification", model=sys.argv[1])
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
