"""Invented reports as the stages would write them: a shrunk classifier of digits, proven, and a finetuned one of Chinese reviews."""

import base64
import io
import math

import numpy
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from penjing.core.report import Measure, Report


def share(value, n):
    """A share with its Wilson interval, as measures of the stages carry it."""
    z2 = 1.96**2
    centre, half = (value + z2 / (2 * n)) / (1 + z2 / n), 1.96 / (1 + z2 / n) * math.sqrt(value * (1 - value) / n + z2 / (4 * n * n))
    return Measure(value, "share", low=max(centre - half, 0.0), high=min(centre + half, 1.0), n=n)


def costs(num_bytes, latency_ms, parameters):
    return {
        "bytes": Measure(num_bytes, "bytes", better="lower"),
        "latency_ms": Measure(latency_ms, "ms", low=0.95 * latency_ms, high=1.06 * latency_ms, n=200, better="lower"),
        "latency_p95_ms": Measure(1.3 * latency_ms, "ms", n=200, better="lower"),
        "parameters": Measure(parameters, better="lower"),
    }


def picture(pixels):
    image = Image.fromarray(((16 - pixels) * 15.9).astype("uint8"))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def curve():
    """Parent, baseline, and candidates that were proven, failed, screened out or only timed."""
    n, points = 180, []

    def add(name, status, num_bytes, latency_ms, quality=None, **more):
        ends = share(quality, n) if quality is not None else Measure(0)
        points.append(
            {
                "name": name,
                "status": status,
                "bytes": num_bytes,
                "latency_ms": latency_ms,
                "quality": quality,
                "low": ends.low,
                "high": ends.high,
                **more,
            }
        )

    add("teacher", "parent", 1_132_000, 1.91, 0.9889, recipe="as given")
    add("SVC", "baseline", 512_000, 0.21, 0.9833, recipe="linear on pixels")
    add("half-int8", "proven", 151_000, 0.52, 0.9833, proof_quality=0.986, recipe="half the channels, distilled, int8")
    add("quarter-int8", "proven", 61_400, 0.31, 0.9778, proof_quality=0.981, recipe="a quarter of the channels, distilled, int8")
    add("eighth-int8", "failed", 31_900, 0.24, 0.9667, proof_quality=0.947, recipe="an eighth of the channels, distilled, int8")
    add("half", "not tested", 571_000, 0.95, 0.9833, recipe="half the channels, distilled")
    add("quarter", "not tested", 203_000, 0.61, 0.9722, recipe="a quarter of the channels, distilled")
    add("quarter-int4", "not tested", 44_000, 0.33, 0.9333, recipe="a quarter of the channels, distilled, int4")
    add("shallow-int8", "not tested", 88_000, 0.27, 0.9444, recipe="two blocks of four, distilled, int8")
    add("sixteenth-int8", "not trained", 22_000, 0.22, recipe="a sixteenth of the channels")
    return points


def differing():
    digits = load_digits()
    odd = [(5, "5", "5", "9"), (37, "9", "9", "3"), (61, "8", "1", "8"), (129, "3", "3", "7"), (234, "5", "5", "8"), (1553, "8", "8", "1")]
    return [
        {
            "row": f"digits.csv, row {i}",
            "show": {"image": picture(digits.images[i])},
            "truth": t,
            "parent": p,
            "child": c,
            "parent_score": 0.91,
            "child_score": 0.57,
        }
        for i, t, p, c in odd
    ]


def confusion(wrong, seed):
    rng = numpy.random.default_rng(seed)
    counts = numpy.diag(numpy.full(10, 36))
    for _ in range(wrong):
        i, j = rng.choice(10, 2, replace=False)
        counts[i, i] -= 1
        counts[i, j] += 1
    return counts.tolist()


LINEAGE = [
    {
        "stage": "finetune",
        "key": "9f" * 32,
        "parent": {},
        "data": {"name": "digits", "fingerprint": "ab" * 32, "licence": "CC BY 4.0"},
        "options": {"epochs": 30},
        "seed": 0,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
        "date": "2026-11-22T02:38:32+00:00",
    },
    {
        "stage": "shrink",
        "key": "3c" * 32,
        "parent": {"path": "models/teacher", "sha256": "7e" * 32},
        "data": {"name": "digits", "fingerprint": "ab" * 32, "licence": "CC BY 4.0"},
        "options": {"floor": "3.0", "candidates": 8},
        "seed": 0,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0", "onnxruntime": "1.31.1"},
        "date": "2026-11-22T02:38:32+00:00",
    },
]


@pytest.fixture
def shrunk():
    """A report of shrink that was proven on 361 rows, and its penjing.json with the config beside it."""
    n = 361
    report = Report(
        "shrink",
        model={"path": "models/small", "sha256": "d0" * 32, "engine": "onnxruntime", "bytes": 61_400},
        parent={"path": "models/teacher", "sha256": "7e" * 32, "engine": "torch", "licence": "apache-2.0"},
        data={
            "name": "digits",
            "fingerprint": "ab" * 32,
            "licence": "CC BY 4.0",
            "rows": {"train": 1256, "tune": 180, "proof": n},
            "proof_opened": 2,
        },
        options={"floor": "3.0", "candidates": 8, "quantize": True, "budget": None, "seed": 0},
        before={"accuracy": share(356 / n, n), "macro_f1": share(0.9851, n), **costs(1_132_000, 1.91, 280_000)},
        after={"accuracy": share(354 / n, n), "macro_f1": share(0.9802, n), **costs(61_400, 0.31, 24_100)},
        baseline={
            "name": "SVC",
            "measures": {
                "accuracy": share(357 / n, n),
                "macro_f1": share(0.9887, n),
                "bytes": Measure(512_000, "bytes", better="lower"),
                "latency_ms": Measure(0.21, "ms", better="lower"),
            },
        },
        facts={
            "task": "image-classification",
            "labels": [str(i) for i in range(10)],
            "metric": "accuracy",
            "measured_on": "proof",
            "latency": {
                "engine": {"parent": "torch fp32", "child": "onnxruntime int8"},
                "threads": 1,
                "batch": 1,
                "ratio": 6.16,
                "low": 5.8,
                "high": 6.4,
                "parent_on_child_engine_ms": 0.88,
            },
            "flips": {"share": vars(share(10 / n, n)), "worse": 6, "better": 4, "n": n},
            "differ": differing(),
            "confusion": {"labels": [str(i) for i in range(10)], "parent": confusion(5, 1), "child": confusion(7, 2)},
            "proof": {
                "floor": 3.0,
                "floor_text": "3.0 points",
                "loss": 0.554,
                "upper": 2.04,
                "n": n,
                "worse": 6,
                "better": 4,
                "passed": True,
                "method": "Tango score, one-sided 95 %",
                "rows_needed": 290,
                "opened": 2,
                "sequence": [
                    {"name": "half-int8", "passed": True, "loss": 0.0, "upper": 1.2},
                    {"name": "quarter-int8", "passed": True, "loss": 0.554, "upper": 2.04},
                    {"name": "eighth-int8", "passed": False, "loss": 3.9, "upper": 5.9},
                ],
            },
            "curve": curve(),
            "chosen": "quarter-int8",
            "training": {
                "curve": [
                    {"epoch": e, "loss": 1.9 * math.exp(-e / 5) + 0.08, "tune": 0.978 - 0.5 * math.exp(-e / 3) - 0.004 * (e > 22)}
                    for e in range(1, 31)
                ],
                "best_epoch": 22,
            },
        },
        cost={"seconds": 814.2, "peak_memory_bytes": 1_410_000_000},
        notes=["The four rows of digits.csv that could not be read were left out: 12, 77, 1033, 1400."],
        environment={"machine": "x86-64, 4 cores", "threads": 2, "versions": {"torch": "2.13.0", "onnxruntime": "1.31.1"}},
    )
    meta = {"task": "image-classification", "engine": "onnxruntime", "lineage": LINEAGE, "config": {"model_type": "penjing_cnn"}}
    return report, meta


@pytest.fixture
def finetuned():
    """A plain report of finetune: tuning rows, no parent, no proof, labels and texts in Chinese."""
    n = 776
    differ = [
        {
            "row": "hotel.csv, row 12",
            "show": {"text": "房间很干净，服务也热情，就是早餐一般。"},
            "truth": "好评",
            "parent": "差评",
            "child": "好评",
            "parent_score": 0.61,
            "child_score": 0.93,
        }
    ]
    report = Report(
        "finetune",
        model={"path": "models/酒店", "sha256": "c1" * 32, "engine": "torch"},
        data={"name": "酒店评论", "fingerprint": "cd" * 32, "rows": {"train": 6212, "tune": n}},
        after={"accuracy": share(0.9046, n), "macro_f1": share(0.885, n), **costs(91_000_000, 16.5, 22_700_000)},
        baseline={"name": "TF-IDF + 线性", "measures": {"accuracy": share(0.9214, n)}},
        facts={
            "task": "text-classification",
            "labels": ["差评", "好评"],
            "metric": "accuracy",
            "measured_on": "tune",
            "differ": differ,
            "confusion": {"labels": ["差评", "好评"], "child": [[188, 52], [22, 514]]},
            "latency": {"engine": {"child": "torch fp32"}, "threads": 1, "batch": 1},
            "parity": {"difference": 4.8e-7},
            "training": {"curve": [{"epoch": 1, "loss": 0.52, "tune": 0.87}, {"epoch": 2, "loss": 0.31, "tune": 0.9046}], "best_epoch": 2},
        },
        cost={"seconds": 42.0},
    )
    meta = {
        "task": "text-classification",
        "engine": "torch",
        "lineage": [
            {
                "stage": "finetune",
                "key": "aa" * 32,
                "parent": {"path": "hf:org/mini", "sha256": "bb" * 32},
                "data": {"name": "酒店评论", "fingerprint": "cd" * 32},
                "options": {"epochs": 2},
                "seed": 0,
                "versions": {},
                "date": "2026-11-22T02:38:32+00:00",
            }
        ],
        "config": {"model_type": "bert"},
    }
    return report, meta
