"""Write docs/reference.md from the docstrings and the options, so that it cannot say anything else than the code.

python docs/make_reference.py > docs/reference.md
"""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import penjing
from penjing.core import contracts, report
from penjing.core.errors import PenjingError
from penjing.core.find import find, summary
from penjing.core.options import Flag, flags
from penjing.stages import _frame

TOP = """# Python reference

Written by `python docs/make_reference.py` from the docstrings and the options; a test compares. The functions have the names and the
words of the commands. Each takes the options of its tables as keywords; the keyword `learning_rate` is the flag `--learning-rate`.
"""
CLASSES = {
    "What functions take and give": (penjing.Runtime, penjing.ModelDir, penjing.Report, report.Measure, contracts.Prediction),
    "What a task is made of": (contracts.Task, contracts.Batch, contracts.RowLoss, contracts.Anatomy, contracts.ChannelGroup),
}


def page() -> Iterator[str]:
    """The blocks of the page, in order."""
    yield TOP
    yield "## Stages that make a model directory"
    yield _signature("penjing.STAGE", _frame.call, {"stage"})
    yield "`words` are the options below. " + _first_lines(_frame.call)
    for stage in _frame.MAKERS:
        yield from _stage(stage)
    yield "## Stages that only look"
    yield "They take neither `out` nor `overwrite`, and return the Report."
    for stage in _frame.READERS:
        yield from _stage(stage)
    for name in ("check", "plan", "predict", "run", "sweep"):
        function = vars(find("stages", name))[name]
        yield f"### penjing.{name}\n\n{summary('stages', name)}"
        yield _signature(f"penjing.{name}", function)
        yield _text(function)
        if name == "plan":
            yield _table(list(flags(find("stages", name).Options)))
    for title, classes in CLASSES.items():
        yield f"## {title}"
        for each in classes:
            yield from _class(each)
    yield "## Errors"
    yield _text(PenjingError)
    yield "\n".join(f"- `{error.__name__}`: {_first_lines(error)}" for error in PenjingError.__subclasses__())


def _stage(stage: str) -> Iterator[str]:
    yield f"### penjing.{stage}\n\n{summary('stages', stage)}"
    yield _text(vars(find("stages", stage))[stage])
    own = list(flags(find("stages", stage).Options))
    yield _table([flag for flag in own if flag.name != "child"])
    for method in _frame.method_names(stage):
        settings = list(flags(find(find("stages", stage).METHODS, method).Options))
        yield f"`method={method!r}`: {summary(find('stages', stage).METHODS, method)}"
        yield from [_table(settings)] if settings else []


def _class(kind: type) -> Iterator[str]:
    yield f"### {kind.__name__}"
    yield _text(kind)
    yield from [_table(list(flags(kind)))] if kind is penjing.Runtime else []
    told = []
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member.__func__ if isinstance(member, classmethod) else member
        if name.startswith("_") or not inspect.isfunction(function) or not function.__doc__:
            continue
        shown = f"`{name}`" if isinstance(member, property) else f"`{name}{_words(function, {'self', 'cls'})}`"
        told.append(f"- {shown}: {_first_lines(function)}")
    yield "\n".join(told)


def _signature(called: str, function: Any, without: frozenset[str] | set[str] = frozenset()) -> str:
    return f"```text\n{textwrap.fill(called + _words(function, without), 120, subsequent_indent='    ')}\n```"


def _words(function: Any, without: frozenset[str] | set[str]) -> str:
    whole = inspect.signature(function)
    kept = [parameter for parameter in whole.parameters.values() if parameter.name not in without]
    return re.sub(r"(?:\w+\.)+(\w+)", r"\1", str(whole.replace(parameters=kept)).replace('"', ""))


def _table(options: list[Flag]) -> str:
    rows = [f"| `{o.name}` | {_type(o.kind)} | {_default(o)} | {o.about}{f' ({o.bounds})' if o.bounds else ''} |" for o in options]
    return "\n".join(["| option | type | default | |", "|---|---|---|---|", *rows])


def _type(kind: Any) -> str:
    if get_origin(kind) is list:
        return f"list of {_type(get_args(kind)[0])}"
    choices = " or ".join(_type(choice) if get_origin(choice) or isinstance(choice, type) else f'"{choice}"' for choice in get_args(kind))
    return choices or kind.__name__


def _default(option: Flag) -> str:
    return f'"{option.default}"' if isinstance(option.default, str) else f"{option.default}"


def _text(documented: Any) -> str:
    """A docstring: sentences as they are, aligned lists of names as code."""
    blocks = inspect.cleandoc(documented.__doc__).split("\n\n")
    aligned = re.compile(r"^[\w, /]+?  +\S", re.M)
    return "\n\n".join(f"```text\n{block}\n```" if aligned.match(block) else block for block in blocks)


def _first_lines(documented: Any) -> str:
    return " ".join(inspect.cleandoc(documented.__doc__).split("\n\n")[0].split())


def text() -> str:
    """The whole page."""
    return "\n\n".join(block.strip() for block in page() if block.strip())


if __name__ == "__main__":
    print(text())
