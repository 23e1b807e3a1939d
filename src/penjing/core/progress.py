"""Progress for people: a bar on a terminal, a plain line every few seconds elsewhere, nothing when quiet. Always on standard error."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
LINE_EVERY_S = 10.0
_QUIET: ContextVar[bool] = ContextVar("quiet", default=True)


class Progress:
    """One long piece of work that is being counted."""

    def __init__(self, what: str, total: int | None, quiet: bool):
        self._what, self._total, self._done, self._start = what, total, 0, time.monotonic()
        self._said, self._words = self._start, ""
        terminal = sys.stderr.isatty() and not quiet
        self._bar = tqdm(total=total, desc=what, leave=False, dynamic_ncols=True, file=sys.stderr) if terminal else None
        self._plain = not quiet and not terminal

    def step(self, by: int = 1, **words: object) -> None:
        """Count `by` more; `words` are shown beside the count (loss=0.31)."""
        self._done += by
        if words:
            self._words = "  ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in words.items()
            )
        if self._bar is not None:
            if words:
                self._bar.set_postfix_str(self._words, refresh=False)
            self._bar.update(by)
        elif self._plain and time.monotonic() - self._said > LINE_EVERY_S:
            self._said = time.monotonic()
            of = f" of {self._total}" if self._total else ""
            print(f"{self._what}: {self._done}{of}, {self._said - self._start:.0f} s  {self._words}".rstrip(), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def told(quiet: bool) -> Iterator[None]:
    """Whether readers, which know nothing of the call that they serve, show how far they are while the body runs."""
    before = _QUIET.set(quiet)
    try:
        yield
    finally:
        _QUIET.reset(before)


@contextmanager
def progress(what: str, total: int | None = None, quiet: bool | None = None) -> Iterator[Progress]:
    """Show how far `what` has come while the body runs; where `quiet` is not given, as `told` says."""
    shown = Progress(what, total, _QUIET.get() if quiet is None else quiet)
    try:
        yield shown
    finally:
        shown.close()


def track(items: Iterable[Item], what: str, total: int | None = None, quiet: bool | None = None) -> Iterator[Item]:
    """Pass `items` through, counting them."""
    with progress(what, total, quiet) as shown:
        for item in items:
            yield item
            shown.step()


def say(line: str, quiet: bool = False) -> None:
    """One line about what happens now."""
    if not quiet:
        tqdm.write(line, file=sys.stderr)
