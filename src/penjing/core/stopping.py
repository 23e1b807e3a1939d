"""Ctrl-C and SIGTERM while something long runs: the first asks it to stop where it can go on later, the second stops it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A run ended because a signal asked for it; `told` says what the same command will do."""

    def __init__(self, number: int, told: str):
        super().__init__(told)
        self.number, self.told = number, told


class Asked:
    """Which signal has asked for a stop; None while none has."""

    number: int | None = None


@contextmanager
def stopping() -> Iterator[Asked]:
    """The first Ctrl-C or SIGTERM while the body runs is only noted, for the body to see to; the second raises KeyboardInterrupt.

    One that the body has not seen to raises Stopped when it ends. Only the main thread may do so; elsewhere, and where a signal is
    ignored (nohup), nothing is noted.
    """
    asked = Asked()

    def note(number: int, frame: FrameType | None) -> None:
        if asked.number is not None:
            raise KeyboardInterrupt
        asked.number = number

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ASKING if main and signal.getsignal(number) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked.number is not None:
        raise Stopped(asked.number, "after its last step; the same command goes on from its last checkpoint")
