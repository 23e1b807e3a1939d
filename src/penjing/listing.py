"""What there is to choose from: the tasks, the families with their sizes, the methods of each stage."""

from pathlib import Path
from typing import Any

from penjing.core import find
from penjing.core.errors import OptionError, nearest


def tasks() -> list[dict[str, Any]]:
    """Name and first line of every task; nothing is imported."""
    return _named("tasks")


_OPTIONS = {"augment": "--augment", "semi": "finetune --semi"}  # folders that no stage is named after


def methods() -> list[dict[str, Any]]:
    """Stage, name and first line of every method; nothing is imported."""
    return [{"stage": stage, **found} for stage in _stages() for found in _named(f"methods.{stage}")]


def whole(kind: str, name: str) -> str:
    """All that tasks, families or methods of this name say of themselves: columns, metrics, sources.

    Raises OptionError with the nearest names where there is none.
    """
    folders = [f"methods.{stage}" for stage in _stages()] if kind == "methods" else [kind]
    found = [find.about(folder, name) for folder in folders if name in find.names(folder)]
    if not found:
        known = [each for folder in folders for each in find.names(folder)]
        raise OptionError(f"no {name!r} among the {kind}", wanted=nearest(name, known), fix=f"penjing {kind} lists them")
    return "\n\n".join(found)


def families() -> list[dict[str, Any]]:
    """Name, first line, media, kinds of positions and sizes of every family, each size with the number of its parameters."""
    from penjing.core.model_dir import NEW
    from penjing.engine import create

    found = _named("families")
    for each in found:
        family = find.find("families", each["name"])
        each["media"], each["positions"] = list(family.MEDIA), list(getattr(family, "POSITIONS", ()))
        each["sizes"] = [{"name": NEW + size, "parameters": create.outline(size).num_parameters()} for size in family.SIZES]
    return found


def told(found: list[dict[str, Any]]) -> str:
    """A list for a person, a line each."""
    return "\n".join(f"{_called(each):<30} {each['about']}" for each in found)


def told_families(found: list[dict[str, Any]]) -> str:
    """The families, with their sizes in a second line, and for what the parameters were counted."""
    from penjing.engine.create import USUAL_SAID
    from penjing.engine.words import amount

    lines = []
    for each in found:
        sizes = [f"{size['name']} {amount('parameters', size['parameters'])}" for size in each["sizes"]]
        lines += [told([each]), f"  {', '.join(each['media']):<28} {'   '.join(sizes)}"]
        lines += [f"  {'':<28} --positions {' or '.join(each['positions'])}"] if each["positions"] else []
    return "\n".join([*lines, f"Parameters are for {USUAL_SAID}."])


def _stages() -> list[str]:
    return sorted(path.name for path in (Path(__file__).parent / "methods").iterdir() if (path / "__init__.py").exists())


def _called(each: dict[str, Any]) -> str:
    return f"{_OPTIONS.get(each['stage'], each['stage'] + ' --method')} {each['name']}" if "stage" in each else each["name"]


def _named(folder: str) -> list[dict[str, Any]]:
    return [{"name": name, "about": find.summary(folder, name)} for name in find.names(folder)]


LISTS = {"tasks": (tasks, told), "families": (families, told_families), "methods": (methods, told)}
