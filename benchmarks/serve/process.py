"""The other arms as processes: the engine in a loop, and the pipeline behind FastAPI."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from penjing.core.runtime import for_children
from penjing.serve.started import Server

FOLDER = Path(__file__).parent
LOOK_S = 0.05


class Bare:
    """benchmarks/serve/bare.py on these cores."""

    def __init__(self, model: Path, texts: Path, threads: int, cores: Sequence[int]):
        command = [sys.executable, str(FOLDER / "bare.py"), str(model), str(texts), str(threads)]
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


@contextlib.contextmanager
def peer(model: Path, threads: int) -> Iterator[Server]:
    """benchmarks/serve/pipeline_behind_fastapi.py."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(FOLDER / "pipeline_behind_fastapi.py"), str(model), str(port), str(threads)])
    begun = time.perf_counter()
    try:
        while not _answers(port):
            if process.poll() is not None:
                raise SystemExit("the pipeline behind FastAPI did not start")
            time.sleep(LOOK_S)
        yield Server(f"http://127.0.0.1:{port}", process, time.perf_counter() - begun)
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        connection.request("GET", "/docs")
        return connection.getresponse().status == 200
    return False
