"""All weights in bf16: half of the bytes of fp32, the same range, three digits. torch calculates in it too."""

from dataclasses import dataclass
from typing import Any

from penjing.methods.quantize import Rewriting

ENGINES, CALIBRATES = ("torch",), False
NOT_LEARNT = "rounds so little that there is nothing to learn"


@dataclass(frozen=True)
class Options:
    """Nothing to choose."""


def rewrite(rewriting: Rewriting, settings: Options) -> dict[str, Any]:
    """Write every module in bf16; whole numbers stay."""
    for path in rewriting.modules("to bf16"):
        if not rewriting.written(path):
            own = rewriting.take(path)
            rewriting.put(path, {name: value.bfloat16() if value.is_floating_point() else value for name, value in own.items()})
    return {"engine": "torch", "precision": "bf16", "bits": 16, "config": {"dtype": "bfloat16"}}
