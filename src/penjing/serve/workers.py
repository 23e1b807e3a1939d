"""Several processes behind one socket: each has its own models, all have the same ones."""

import contextlib
import fcntl
import json
import logging
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp
from uvicorn.config import STARTUP_FAILURE

from penjing.core.errors import PenjingError
from penjing.core.model_dir import ModelDir
from penjing.core.runtime import Runtime
from penjing.serve import Options
from penjing.serve.logs import Lines
from penjing.serve.protocol import Guarded
from penjing.serve.survivor import Copies

LOOK_S = 0.2  # between two looks whether another worker has changed models
SPARE_FILES = 100  # for models, libraries and the log, beside connections
_FILE = "models.json"


@dataclass(frozen=True)
class Worker:
    """What makes the application of one process; it goes there as it is.

    folder   where workers tell each other which models they shall have, and their parent of connections; None for a server of one process
    """

    models: Sequence[ModelDir | str | Path]
    options: Options
    runtime: Runtime
    folder: Path | None

    def app(self) -> ASGIApp:
        """The application, in a process that logs and counts connections as a server does."""
        from penjing.serve.app import create_app  # torch and transformers, which the parent of workers does without

        logging.basicConfig(level=logging.WARNING, handlers=[Lines()], force=True)
        Guarded.most = min(self.options.connections, most_files() - SPARE_FILES)
        if self.folder:
            Guarded.copies = Copies(self.folder, Guarded.most)
        return create_app(self.models, self.options, self.runtime, only_here=self.options.local, folder=self.folder)

    def __call__(self) -> ASGIApp:
        try:
            return self.app()
        except PenjingError as error:  # the parent stops where it sees this status, instead of trying for ever
            print(f"penjing: {error}", file=sys.stderr, flush=True)
            os._exit(STARTUP_FAILURE)  # at once: it waits for an answer of one that is about to end


class Changes:
    """Which models were loaded or unloaded since the start, in a file that every worker reads: name -> [how often, whether it is there]."""

    def __init__(self, folder: Path):
        self._path, self._seen = folder / _FILE, dict[str, int]()

    def note(self, name: str, there: bool) -> None:
        """Tell the others of a change that this worker has made."""
        with self._path.open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            known: dict[str, Any] = json.loads(file.read() or "{}")
            known[name] = [known.get(name, [0])[0] + 1, there]
            self._seen[name] = known[name][0]
            file.truncate(0)
            file.write(json.dumps(known))

    def news(self) -> list[tuple[str, bool]]:
        """What others have changed since this was asked last: name, and whether it is there."""
        with contextlib.suppress(FileNotFoundError), self._path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            known: dict[str, Any] = json.loads(file.read() or "{}")
            fresh = [(name, there) for name, (number, there) in known.items() if number > self._seen.get(name, 0)]
            self._seen |= {name: number for name, (number, _) in known.items()}
            return fresh
        return []


def most_files() -> int:
    """How many files and connections this process may open: as many as the system lets it ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # a system may say one number and grant another
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
