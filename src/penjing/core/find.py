"""Look up a plug-in by name: the folder is the registry, and listing it imports nothing."""

import ast
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from penjing.core.errors import OptionError, nearest

_KINDS = {
    "tasks": "task", "families": "family", "stages": "stage", "engine.backends": "engine", "methods.augment": "augmentation",
    "methods.semi": "method for rows without labels",
}  # fmt: skip


def names(folder: str) -> list[str]:
    """The plug-ins of `folder` ("tasks", "methods.prune"), as users write them: hyphens, sorted."""
    found = pkgutil.iter_modules([str(_folder(folder))])
    return sorted(module.name.replace("_", "-") for module in found if not module.ispkg and not module.name.startswith("_"))


def find(folder: str, name: str) -> ModuleType:
    """Import one plug-in.

    Raises OptionError with the nearest names where there is none.
    """
    known = names(folder)
    if name.replace("_", "-") not in known:
        kind = _KINDS.get(folder, f"method of {folder.split('.')[-1]}")
        raise OptionError(f"no {kind} called {name!r}", wanted=nearest(name, known))
    return importlib.import_module(f"penjing.{folder}.{name.replace('-', '_')}")


def about(folder: str, name: str) -> str:
    """What a plug-in says of itself, its docstring, read without importing it."""
    path = _folder(folder) / f"{name.replace('-', '_')}.py"
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def summary(folder: str, name: str) -> str:
    """The first line of that."""
    return about(folder, name).split("\n")[0]


def _folder(folder: str) -> Path:
    return Path(__file__).parents[1].joinpath(*folder.split("."))
