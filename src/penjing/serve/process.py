"""The server as a process: a socket, uvicorn behind it, an end that loses nothing."""

import contextlib
import logging
import os
import resource
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvicorn

from penjing.core.errors import OptionError
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.runtime import Runtime
from penjing.serve import Options
from penjing.serve.app import create_app
from penjing.serve.limits import OnlyHere
from penjing.serve.logs import Lines
from penjing.serve.protocol import Guarded

BACKLOG = 2048
SPARE_FILES = 100  # for models, libraries and the log, beside connections


def run(models: Sequence[ModelDir | str | Path], options: Options, runtime: Runtime | None) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were accepted are answered first."""
    runtime = runtime or Runtime()
    with _bound(options) as listening:
        app = create_app(models, options, runtime)
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        listening.listen(BACKLOG)  # so that who reads the next line can connect
        say(f"serving {', '.join(served.name for served in app.state.models)} at http://{shown}:{port}", runtime.quiet)
        config = uvicorn.Config(
            app if options.token_file else OnlyHere(app, options.host), http=Guarded, ws="none", log_config=None, access_log=False,
            server_header=False, date_header=False, backlog=BACKLOG, timeout_graceful_shutdown=max(1, round(options.drain)),
        )  # fmt: skip
        logging.basicConfig(level=logging.WARNING, handlers=[Lines()], force=True)
        Guarded.most = min(options.connections, _most_files() - SPARE_FILES)
        with _quiet_signals():
            uvicorn.Server(config).run(sockets=[listening])


def _most_files() -> int:
    """How many files and connections this process may open: as many as the system lets it ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):  # a system may say one number and grant another
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _bound(options: Options) -> socket.socket:
    """A socket that has the address.

    Raises OptionError for one that cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise OptionError(
            f"{options.host}:{options.port} cannot be listened on: {error.strerror or os.strerror(error.errno or 0)}",
            wanted="an address of this machine and a free port",
            fix="pass another --port, or --port 0 for any that is free",
        ) from None
    return listening


@contextlib.contextmanager
def _quiet_signals() -> Iterator[None]:
    """After it has drained uvicorn raises the signal that stopped it once more, and here that is the end of a good run."""
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
