"""What every task with one label a row shares. Letters: B rows, C labels."""

from collections.abc import Sequence

import torch
from sklearn.metrics import accuracy_score, f1_score

from penjing.core.contracts import Prediction


def decode(logits: torch.Tensor, labels: Sequence[str]) -> list[Prediction]:
    """The likeliest label of each row of (B, C) logits, with its probability."""
    best = logits.float().softmax(-1).max(-1)
    return [Prediction(labels[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist())]


def score(said: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """Accuracy, and F1 averaged over the labels that occur in either list."""
    return {"accuracy": float(accuracy_score(true, said)), "macro_f1": float(f1_score(true, said, average="macro", zero_division=0))}


def correct(said: Sequence[str], true: Sequence[str]) -> list[float]:
    """1.0 for each row that is right, else 0.0: accuracy is their mean."""
    return [float(a == b) for a, b in zip(said, true)]
