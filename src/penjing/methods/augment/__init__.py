"""What a training row becomes, drawn anew in every epoch, while its label stays; one file a change, small enough to be combined.

A method is a module with `KIND` and `apply`, as `Method` says. It is pure and keeps no state, so that any process may call it: what it
draws comes from the generator that it is given, which is keyed by seed, epoch and row.
"""

from collections.abc import Callable
from typing import Any, Protocol

from numpy.random import Generator


class Method(Protocol):
    """What a module of this folder is."""

    KIND: type
    """The values that it changes, by the type of their column: str, Image or Sound."""

    def apply(self, value: Any, draw: Generator, strength: float, another: Callable[[], Any]) -> Any:
        """A value of the same type, of the same label, never empty; `value` stays as it is.

        strength   in [0, 1]: at 0 nothing changes, 0.5 is what the field usually does
        another    () -> the same column of another training row, drawn by `draw`
        """
        ...
