"""penjing (盆景): grow a large model, shrink it, and prove that the small one is as good.

The functions have the names and the words of the commands:

    penjing.shrink("models/teacher", "reviews.csv", floor="2.0", out="models/small")
"""

from typing import Any

__all__ = [
    "ModelDir", "Report", "Runtime", "check", "cluster", "compare", "distill", "evaluate", "explain", "finetune", "plan",
    "predict", "pretrain", "prune", "quantize", "run", "shrink", "sweep",
]  # fmt: skip

_CLASSES = {"ModelDir": "model_dir", "Report": "report", "Runtime": "runtime"}
_FUNCTIONS = ("check", "explain", "plan", "predict", "run", "sweep")  # the others are stages, and come through stages._frame.call


def __getattr__(name: str) -> Any:
    if name in _CLASSES or name in _FUNCTIONS:
        import importlib

        module = f"penjing.core.{_CLASSES[name]}" if name in _CLASSES else f"penjing.stages.{name}"
        return vars(importlib.import_module(module))[name]
    if name in __all__:
        import functools

        from penjing.stages._frame import call

        return functools.partial(call, name)
    raise AttributeError(f"module 'penjing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
