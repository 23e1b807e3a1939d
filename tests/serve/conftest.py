"""Servers of small models, in this process and in one of their own."""

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from penjing.core.runtime import for_children
from penjing.serve.app import create_app


@pytest.fixture(scope="session")
def client(text_parent, image_parent, runtime):
    """Of a text and an image model, with limits that tests can reach."""
    app = create_app(
        [text_parent, image_parent], runtime=runtime, log="none", most_rows=8, most_body="100kB", most_characters=20_000, most_pixels=10_000
    )
    with TestClient(app) as client:
        yield client


@dataclass
class Server:
    """`penjing serve` in a process of its own."""

    process: subprocess.Popen
    address: str
    log: Path

    def stop(self):
        """Exit status after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def lines(self):
        """What it logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines()[1:]]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Start a server with these words on a free port; it ends with the tests of a file."""
    with contextlib.ExitStack() as stack:

        def started(*words):
            log = tmp_path_factory.mktemp("server") / "log"
            command = [sys.executable, "-m", "penjing", "serve", *map(str, words), "--port", "0", "--threads", "1"]
            with log.open("w") as file:
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=for_children())
            stack.callback(_end, process)
            while not (found := re.search(r"at (http://\S+)\n", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            return Server(process, found[1], log)

        yield started


def _end(process):
    if process.poll() is None:
        process.kill()
    process.wait()
