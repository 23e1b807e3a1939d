"""Run a recipe: a TOML file whose tables are steps, each a stage with its words; what is done already is not done again.

    title = "..."                 data = "reviews.csv"      task = "text-classification"      (model = "...")
    [teacher]                     stage = "finetune"        model = "hf-directory"        epochs = 3
    [small]                       stage = "shrink"          model = "teacher"             floor = 2.0

A step's `model` (or `student`) may be the name of an earlier step. What stands above the steps holds for all that do not say otherwise;
--set adds what a recipe leaves open, such as model and data. Outputs: runs/<recipe>/<step>/ and runs/<recipe>/report.html.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from penjing.core import hub
from penjing.core.errors import OptionError, nearest
from penjing.core.examples import read
from penjing.core.model_dir import NEW, ModelDir
from penjing.core.progress import say
from penjing.core.report import Report
from penjing.core.runtime import Runtime
from penjing.stages import _dry_run
from penjing.stages._checks import GROWING, require_pretrained
from penjing.stages._frame import MAKERS, call, require_useful, stage_flags, stage_options

BUNDLED = Path(__file__).parents[1] / "recipes"
SHARED = ("model", "data", "task")
NEEDED = ("model", "data")
MODELS = ("model", "student")  # words of a step that may name an earlier one


def run(
    recipe: str, *, out: str | Path = "runs", changes: dict[str, Any] | None = None, runtime: Runtime | None = None
) -> list[tuple[str, ModelDir, Report]]:
    """Every step's directory and report, in order; writes one page about all of them.

    recipe    a TOML file, or the name of a bundled recipe
    changes   {"small.floor": "2.0"}: words that replace those of the recipe

    Raises OptionError for a recipe that cannot be read or names what is not there, before its first step runs.
    """
    runtime = runtime or Runtime()
    path, plan = load_recipe(recipe, changes or {})
    folder = Path(out) / path.stem
    done: list[tuple[str, ModelDir, Report]] = []
    for name, words in steps(plan, path):
        say(f"[{name}] {words['stage']} {words['model']}", runtime.quiet)
        earlier = {step: str(folder / step) for step, _, _ in done}
        words |= {word: earlier.get(words[word], words[word]) for word in MODELS if word in words}
        stage, model, data = (words.pop(word) for word in ("stage", "model", "data"))
        made = call(stage, model, data, out=folder / name, overwrite=True, runtime=runtime, **words)
        done.append((name, *made))  # type: ignore[misc]
    from penjing.engine import page

    there, shown = folder / "report.html", [(name, report, model.meta) for name, model, report in done]
    text = page.page(shown, plan.get("title", path.stem))
    if not there.exists() or there.read_text("utf-8") != text:
        there.write_text(text, "utf-8")
    return done


def foresee(recipe: str, *, out: str | Path, changes: dict[str, Any], runtime: Runtime) -> list[dict[str, Any]]:
    """What `run` would do, a plan a step, without doing it; of a step that waits for another only which that is."""
    path, whole = load_recipe(recipe, changes)
    folder, waiting = Path(out) / path.stem, set[str]()
    plans: list[dict[str, Any]] = []
    for name, words in steps(whole, path):
        names = [words[word] for word in MODELS if word in words]
        after = next((model for model in names if model in waiting), None)
        words |= {word: str(folder / words[word]) for word in MODELS if words.get(word) in [plan["step"] for plan in plans]}
        stage, model, data = (words.pop(word) for word in ("stage", "model", "data"))
        if after:
            found = {"stage": stage, "after": after, "out": str(folder / name), "done": False}
        else:
            found = _dry_run.plan(stage, model, data, folder / name, runtime, words, overwrite=True)
        plans.append({"step": name, **found})
        waiting |= set() if found["done"] else {name}
    return plans


def load_recipe(recipe: str, changes: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The file and its content, changed as the user asked."""
    path = Path(recipe)
    if not path.is_file():
        bundled = {p.stem: p for p in BUNDLED.glob("*.toml")}
        if recipe not in bundled:
            files = [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            wanted = f"a TOML file, or a bundled recipe: {nearest(recipe, [*bundled, *files])}"
            raise OptionError(f"no recipe {recipe!r}", wanted=wanted, fix="correct the name")
        path = bundled[recipe]
    try:
        plan = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise OptionError(f"{path}: {error}", wanted="a recipe in TOML", fix="correct it there") from error
    for word, value in changes.items():
        step, _, name = word.rpartition(".")
        if step and not isinstance(plan.get(step), dict):
            there = nearest(step, [n for n, v in plan.items() if isinstance(v, dict)])
            raise OptionError(f"{path} has no step {step!r}", wanted=there, fix="correct --set")
        (plan[step] if step else plan)[name] = value
    return path, plan


def steps(plan: dict[str, Any], path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name, words) of each step, with what the recipe says for all of them; every word is checked before the first step runs."""
    tables = {name: table for name, table in plan.items() if isinstance(table, dict)}
    if not tables:
        raise OptionError(f"{path} has no steps", wanted="tables such as [small] with stage = ... and model = ...", fix="add one")
    for word in plan.keys() - tables.keys() - {*SHARED, "title"}:
        raise OptionError(f"{path}: no word {word!r} above the steps", wanted=nearest(word, [*SHARED, "title"]), fix="correct the recipe")
    command = f"penjing run {path.stem if path.parent == BUNDLED else path}"
    checked: list[tuple[str, dict[str, Any]]] = []
    for name, table in tables.items():
        try:
            checked.append((name, _checked(plan, table, [step for step, _ in checked], command)))
        except OptionError as error:
            fix = error.fix or "correct the recipe"
            raise OptionError(f"{path}, [{name}]: {error.problem}", wanted=error.wanted, fix=fix) from None
    for source in {str(words["data"]) for _, words in checked}:
        read(source)
    yield from checked


def _checked(plan: dict[str, Any], table: dict[str, Any], earlier: list[str], command: str) -> dict[str, Any]:
    """The words of a step; `command` is what runs the recipe.

    Raises OptionError for a stage, option, value or model that is not there.
    """
    stage = table.get("stage")
    if stage not in MAKERS:
        raise OptionError(
            "stage is not given" if stage is None else f"no stage {stage!r} that makes a model", wanted=nearest(str(stage), MAKERS)
        )
    known = {flag.name for flag in stage_flags(stage, table.get("method"))}
    words = {**{word: plan[word] for word in SHARED if word in plan and (word in NEEDED or word in known)}, **table}
    words |= {word: str(words[word]) for word in (*MODELS, "data") if word in words}
    if missing := [word for word in NEEDED if word not in words]:
        said = [f"--set {word}={plan.get(word, word.upper())}" for word in NEEDED if word in missing or word in plan]
        raise OptionError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not given",
            wanted=" and ".join(f'{word} = "..."' for word in missing) + " there or above the steps",
            fix=" ".join([command, *said]),
        )
    require_useful(stage, table.get("method"), words)
    for word in words.keys() - {"stage", *NEEDED} - known:
        raise OptionError(f"{stage} has no option {word!r}", wanted=nearest(word, known))
    options = stage_options(stage, {word: value for word, value in words.items() if word in known})
    for word in MODELS:
        named = str(words.get(word, NEW))
        if not (named.startswith((NEW, hub.PREFIX)) or named in earlier or Path(named).exists()):
            raise OptionError(f"no {word} {named!r}", wanted="an earlier step, a directory or hf:org/name: " + nearest(named, earlier))
    if words["model"].startswith(NEW) and stage == "finetune":
        require_pretrained(words["model"], options.method)
    elif words["model"].startswith(NEW) and stage not in GROWING:
        raise OptionError(f"{stage} needs a trained model, not {words['model']}", wanted="an earlier step or a directory")
    return words
