"""The server as a process: a socket, uvicorn behind it, an end that loses nothing."""

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from penjing.core.errors import ModelError, OptionError
from penjing.core.model_dir import ModelDir
from penjing.core.progress import say
from penjing.core.runtime import Runtime, cores, sharing_metrics
from penjing.serve import Options
from penjing.serve.names import names_of
from penjing.serve.protocol import Guarded
from penjing.serve.survivor import Survivor
from penjing.serve.workers import Worker, most_files

BACKLOG = 2048
IDLE_S = 75  # that a connection may wait for its next request: longer than most proxies keep theirs, which would else meet a closed one
HUNG_S = 15  # without a sign of life, after which a worker is replaced


def run(models: Sequence[ModelDir | str | Path], options: Options, runtime: Runtime | None) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that were accepted are answered first.

    Raises OptionError for an address that cannot be had and two models of one name, and what opening a model raises.
    """
    runtime = runtime or Runtime()
    with _bound(options) as listening, tempfile.TemporaryDirectory(prefix="penjing-serve-") as folder:
        named = names_of([ModelDir.open(source, runtime) for source in models])
        if options.workers == 1:
            app = Worker([*named.values()], options, runtime, None).app()
            _tell(named, listening, runtime)
            with _quiet_signals():
                uvicorn.Server(_config(app, options)).run(sockets=[listening])
            return
        alone = replace(runtime, threads=runtime.threads or max(1, cores() // options.workers))
        config = _config(Worker([*named.values()], options, alone, Path(folder)), options, factory=True, workers=options.workers)
        _tell(named, listening, runtime)
        most_files()  # as many as it can have: of each worker's connections it holds a copy
        with _quiet_signals(), sharing_metrics(Path(folder)), Survivor(Path(folder)):
            parent = Multiprocess(config, sockets=[listening])
            parent.run()
        if any(process.exitcode == STARTUP_FAILURE for process in parent.processes):
            raise ModelError("a worker could not start", wanted="models that open", fix="correct what it says above")


def _config(app: Any, options: Options, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app, http=Guarded, ws="none", log_config=None, access_log=False, server_header=False, date_header=False, proxy_headers=False,
        backlog=BACKLOG, timeout_keep_alive=IDLE_S, timeout_graceful_shutdown=max(1, round(options.drain)),
        timeout_worker_healthcheck=HUNG_S, **more,
    )  # fmt: skip


def _tell(named: Iterable[str], listening: socket.socket, runtime: Runtime) -> None:
    """Where it is; who reads this can connect, and is answered when the models are loaded."""
    listening.listen(BACKLOG)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(f"serving {', '.join(named)} at http://{shown}:{port}", runtime.quiet)


def _bound(options: Options) -> socket.socket:
    """A socket that has the address.

    Raises OptionError for one that cannot be had.
    """
    try:
        family, *_, address = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with contextlib.ExitStack() as until_bound:
            listening = until_bound.enter_context(socket.socket(family))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            until_bound.pop_all()
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
