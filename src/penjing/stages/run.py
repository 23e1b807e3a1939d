"""Run a recipe: a TOML file whose tables are steps, each a stage with its words; what is done already is not done again.

    title = "..."                 data = "reviews.csv"      task = "text-classification"
    [teacher]                     stage = "finetune"        model = "hf-directory"        epochs = 3
    [small]                       stage = "shrink"          model = "teacher"             floor = 2.0

A step's `model` (or `student`) may be the name of an earlier step. Outputs: runs/<recipe>/<step>/ and runs/<recipe>/report.html.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.core.errors import OptionError, nearest
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.stages._frame import MAKERS, call, stage_flags

BUNDLED = Path(__file__).parents[1] / "recipes"
SHARED = ("data", "task")


def run(recipe: str, *, out: Path, changes: dict[str, Any], runtime: Runtime) -> list[tuple[str, ModelDir, Report]]:
    """Every step's directory and report, in order; writes one page about all of them.

    recipe    a TOML file, or the name of a bundled recipe
    changes   {"small.floor": "2.0"}: words that replace those of the recipe

    Raises OptionError for a recipe that cannot be read or names what is not there.
    """
    path, plan = load_recipe(recipe, changes)
    folder = out / path.stem
    done: list[tuple[str, ModelDir, Report]] = []
    for name, words in steps(plan, path):
        say(f"[{name}] {words['stage']} {words['model']}", runtime.quiet)
        words = {word: str(folder / value) if value in [n for n, _, _ in done] else value for word, value in words.items()}
        stage, model, data = (words.pop(word) for word in ("stage", "model", "data"))
        made = call(stage, model, data, out=folder / name, overwrite=True, runtime=runtime, **words)
        done.append((name, *made))  # type: ignore[misc]
    _page(folder / "report.html", done, plan.get("title", path.stem))
    return done


def load_recipe(recipe: str, changes: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The file and its content, changed as the user asked."""
    path = Path(recipe)
    if not path.is_file():
        bundled = {p.stem: p for p in BUNDLED.glob("*.toml")}
        if recipe not in bundled:
            raise OptionError(f"no recipe {recipe!r}", wanted=f"a TOML file, or {nearest(recipe, bundled)}")
        path = bundled[recipe]
    try:
        plan = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: {error}", fix="correct the recipe") from error
    for word, value in changes.items():
        step, _, name = word.rpartition(".")
        if step and not isinstance(plan.get(step), dict):
            raise OptionError(f"{path} has no step {step!r}", wanted=nearest(step, [n for n, v in plan.items() if isinstance(v, dict)]))
        (plan[step] if step else plan)[name] = value
    return path, plan


def steps(plan: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, words) of each step, with what the recipe says for all of them; every word is checked before the first step runs."""
    found = {name: table for name, table in plan.items() if isinstance(table, dict)}
    if not found:
        raise OptionError(f"{path} has no steps", wanted="tables such as [small] with stage = ... and model = ...")
    checked = []
    for name, table in found.items():
        if table.get("stage") not in MAKERS:
            raise OptionError(f"{path}, [{name}]: no stage {table.get('stage')!r}", wanted=nearest(str(table.get("stage")), MAKERS))
        known = {flag.name for flag in stage_flags(table["stage"], table.get("method"))}
        words = {**{word: plan[word] for word in SHARED if word in plan and (word == "data" or word in known)}, **table}
        for needed in ("model", "data"):
            if needed not in words:
                raise OptionError(f"{path}, [{name}]: {needed} is not given", fix=f'add {needed} = "..."')
        for word in words.keys() - {"stage", "model", "data"} - known:
            raise OptionError(f"{path}, [{name}]: {table['stage']} has no option {word!r}", wanted=nearest(word, known))
        checked.append((name, words))
    yield from checked


def _page(path: Path, done: list[tuple[str, ModelDir, Report]], title: str) -> None:
    from penjing.engine import page

    text = page.page([(name, report, model.meta) for name, model, report in done], title)
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
