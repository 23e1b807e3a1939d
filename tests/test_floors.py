"""The plan of the house: a file imports only from floors below its own, and neighbours of a kind do not know each other."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "penjing"
FLOORS = {
    "core": 0,
    "maths": 1,
    "tasks": 2,
    "families": 2,
    "methods": 2,
    "engine": 3,
    "stages": 4,
    "completion": 4,
    "listing": 4,
    "serve": 5,
    "cli": 6,
    "__main__": 7,
    "__init__": 5,
}
FILES = sorted(ROOT.rglob("*.py"))
COMPOSERS = {"shrink", "run", "sweep", "_cross_fit", "_search", "_provable", "_shapes", "_dry_run", "_frame", "plan", "_learning_curve"}


def imports(path):
    """Dotted names of penjing that a file imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "penjing":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "penjing")


def room(dotted):
    return dotted.split(".")[1] if "." in dotted else "__init__"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_room_and_from_floors_below(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for dotted in imports(path):
        other = room(dotted)
        assert other == own or FLOORS[other] < FLOORS[own], f"{own} may not import {dotted}"


@pytest.mark.parametrize("kind", ["tasks", "families", "methods"])
def test_tasks_families_and_methods_never_import_their_like(kind):
    for path in sorted((ROOT / kind).rglob("*.py")):
        for dotted in imports(path):
            if room(dotted) == kind:
                module = ROOT.joinpath(*dotted.split(".")[1:])
                part = module.parent.with_suffix(".py")
                if part.name.startswith("_") and part.exists() and part.parent == path.parent:
                    continue  # no plug-in, but what those of one folder share
                package = module if module.is_dir() else module.parent
                assert (package / "__init__.py").exists() and package in path.parents, f"{path.name} may not import {dotted}"
                assert not module.with_suffix(".py").exists(), f"{path.name} may not import {dotted}"


def test_only_composers_call_stages():
    for path in sorted((ROOT / "stages").glob("*.py")):
        if path.stem not in COMPOSERS:
            called = [dotted for dotted in imports(path) if room(dotted) == "stages" and not {"_checks", "_inputs"} & {*dotted.split(".")}]
            assert not called, f"{path.name} may not call another stage"


def test_family_files_import_only_torch_and_transformers():
    """They are copied into model directories, where nothing of penjing is installed."""
    for path in sorted((ROOT / "families").glob("[a-z]*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                assert {name.split(".")[0] for name in names} <= {"torch", "transformers", *sys.stdlib_module_names}, path.name


def test_only_runtime_reads_the_environment():
    for path in FILES:
        text = path.read_text("utf-8")
        assert path.name == "runtime.py" or ("environ" not in text.replace("environment", "") and "getenv" not in text), path
