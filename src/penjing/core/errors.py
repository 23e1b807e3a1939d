"""What can go wrong through no fault of penjing: each error says what, where, what was wanted, and what to do next."""

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class PenjingError(Exception):
    """A mistake that the reader can mend; the command line prints it without a traceback and exits 2.

    problem   what failed, with value and place (file, row, column)
    wanted    what would have been right, nearest matches first
    fix       the command or edit to do next
    """

    def __init__(self, problem: str, *, wanted: str | None = None, fix: str | None = None):
        super().__init__(problem)
        self.problem, self.wanted, self.fix = problem, wanted, fix

    def __str__(self) -> str:
        lines = [self.problem]
        if self.wanted:
            lines.append(f"  wanted  {self.wanted}")
        if self.fix:
            lines.append(f"  next    {self.fix}")
        return "\n".join(lines)


class OptionError(PenjingError):
    """A flag, a keyword or a recipe entry."""


class DataError(PenjingError):
    """A row, a column or a file of data."""


class ModelError(PenjingError):
    """A model directory."""


class TaskError(PenjingError):
    """A task that does not fit this model, these data or this stage."""


class RankError(PenjingError):
    """One of several processes that train together ended before the others."""


class MissingExtra(PenjingError):
    """A library that an extra of penjing installs."""


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """The known words as a phrase, those most like `word` first; all of them when there are few."""
    names = [str(name) for name in known]
    close = difflib.get_close_matches(str(word), names, n=most, cutoff=0.5)
    rest = [name for name in names if name not in close]
    shown = close or rest[: 2 * most]
    if len(names) <= 2 * most:
        shown = close + rest
    phrase = " or ".join(repr(name) for name in shown)
    return phrase + (f" (one of {len(names)})" if len(shown) < len(names) else "")


def need(module: str, extra: str) -> ModuleType:
    """Import a library that belongs to an extra.

    Raises MissingExtra naming the one command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"this needs {module}, which is not installed ({error})",
            wanted=f"the extra {extra!r} of penjing",
            fix=f"pip install 'penjing[{extra}]'",
        ) from error
