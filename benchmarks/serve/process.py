"""The other arms as processes: the engine in a loop, and the pipeline behind FastAPI."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from penjing.core.runtime import for_children
from penjing.serve.started import Server

QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
FOLDER, PORT = Path(__file__).parent, "PORT"
LOOK_S = 0.05


class Bare:
    """benchmarks/serve/bare.py on these cores."""

    def __init__(self, model: Path, texts: Path, threads: int, cores: Sequence[int]):
        command = [sys.executable, script("bare"), str(model), str(texts), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=for_children())
        os.sched_setaffinity(self._process.pid, cores)
        told = self._read()
        self.ready_s, self.memory_bytes, self.batch_rows = float(told["ready_s"]), int(told["memory_bytes"]), 0

    def ask(self, what: str, seconds: float) -> dict[str, Any]:
        """Measure "throughput" or "single" for so long."""
        assert self._process.stdin is not None
        print(what, seconds, file=self._process.stdin, flush=True)
        told = self._read()
        self.batch_rows = told.get("batch_rows", self.batch_rows)
        return told

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


class Peer(NamedTuple):
    """A server of another make.

    command   to which the port is put in the place of PORT
    path      of its route
    body      of a request for one text
    with_us   whether its Python finds what this one does
    """

    command: tuple[str, ...]
    path: str
    body: Callable[[str], dict[str, Any]]
    with_us: bool = True

    @contextlib.contextmanager
    def started(self) -> Iterator[Server]:
        """It, ready."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [str(port) if word == PORT else word for word in self.command]
        alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"DO_NOT_TRACK": "1"}
        env = for_children() if self.with_us else alone
        begun, process = time.perf_counter(), subprocess.Popen(command, env=env, start_new_session=True, **QUIET)
        try:
            while not _answers(port):
                if process.poll() is not None:
                    raise SystemExit(f"it did not start: {' '.join(command)}")
                time.sleep(LOOK_S)
            yield Server(f"http://127.0.0.1:{port}", process, time.perf_counter() - begun)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def peers(model: Path, threads: int, programs: Mapping[str, str | None]) -> dict[str, Peer]:
    """Of a classifier of torch, by name; those whose program is not given are left out."""
    path, name = str(model.resolve()), model.resolve().name
    found = {
        "pipeline behind FastAPI": Peer((sys.executable, script("pipeline_behind_fastapi"), path, PORT, f"{threads}"), "/predict", _inputs)
    }
    if python := programs.get("ray"):
        route = f"/v1/models/{name}/predict"
        found["penjing in Ray Serve"] = Peer((python, script("in_ray"), path, PORT, f"{threads}"), route, _inputs)
    if program := programs.get("infinity"):
        how = "--device cpu --engine torch --log-level error --host 127.0.0.1"
        words = ["v2", "--model-id", path, "--served-model-name", name, *how.split(), "--port", PORT]
        found["infinity"] = Peer((program, *words), "/classify", partial(_input, name), with_us=False)
    return found


def script(name: str) -> str:
    """A program of this folder."""
    return str(FOLDER / f"{name}.py")


def _inputs(text: str) -> dict[str, Any]:
    return {"inputs": [text]}


def _input(model: str, text: str) -> dict[str, Any]:
    return {"model": model, "input": [text]}


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/docs")
        return connection.getresponse().status == 200
    return False
