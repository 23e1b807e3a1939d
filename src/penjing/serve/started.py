"""`penjing serve` as a process of its own, for who measures it."""

import contextlib
import http.client
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from penjing.core.errors import ModelError
from penjing.core.options import flags, spell
from penjing.core.runtime import Runtime, for_children

READY_S = 600.0  # after which a server that is not ready never will be
LOOK_EVERY_S = 0.005
_SERVING = re.compile(r"^serving .* at (http://\S+)$", re.M)


class Server(NamedTuple):
    """A server that answers.

    process   None for one that somebody else has started
    ready_s   from its start until it was ready
    """

    url: str
    process: "subprocess.Popen[bytes] | None" = None
    ready_s: float | None = None

    def memory_bytes(self, together: bool = False) -> int:
        """What the largest of its processes holds in memory, or all of them together; 0 where the system does not tell."""
        held = [_resident(pid) for pid in family(self.process.pid)] if self.process else []
        return sum(held) if together else max(held, default=0)


@contextlib.contextmanager
def started(models: Sequence[str | Path], runtime: Runtime, words: Mapping[str, Any]) -> Iterator[Server]:
    """A server of these models, ready, and stopped in the end.

    words   options of `penjing serve`

    Raises ModelError where it does not come up, with what it said.
    """
    command = [sys.executable, "-m", "penjing", "serve", *map(str, models)]
    usual = {flag.name: flag.default for flag in flags(Runtime)} | {"quiet": False}
    said = [(name, value) for name, value in {**vars(runtime), "quiet": False, **words}.items() if value != usual.get(name)]
    command += [spell(name) if value is True else f"{spell(name)}={value}" for name, value in said]
    with tempfile.NamedTemporaryFile() as log:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=for_children())
        try:
            url = _ready(process, Path(log.name), begun + READY_S)
            yield Server(url, process, time.perf_counter() - begun)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(READY_S)
            finally:
                process.kill()


def _ready(process: "subprocess.Popen[bytes]", log: Path, until: float) -> str:
    """The address of a server, as soon as it is ready."""
    while process.poll() is None and time.perf_counter() < until:
        if (found := _SERVING.search(log.read_text("utf-8", "replace"))) and _answers(found[1]):
            return found[1]
        time.sleep(LOOK_EVERY_S)
    raise ModelError("the server did not start", wanted=log.read_text("utf-8", "replace")[-2000:].strip(), fix="mend what it says")


def _answers(url: str) -> bool:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    return False


def family(pid: int) -> list[int]:
    """A process and all that it has started."""
    with contextlib.suppress(OSError):
        return [pid, *(each for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for each in family(int(child)))]
    return []


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):  # it has ended, or this system has no such file
        return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) * 1024
    return 0
