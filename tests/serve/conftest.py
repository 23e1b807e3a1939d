"""Servers of small models, in this process and in one of their own."""

import contextlib
import re
import signal
import subprocess
import sys

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


@pytest.fixture
def started():
    """Start `penjing serve` with these words on a free port: (process, its address); what it wrote is in its standard error."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            command = [sys.executable, "-m", "penjing", "serve", *map(str, words), "--port", "0", "--threads", "1"]
            server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=for_children())
            stack.callback(_end, server)
            said = server.stderr.readline()
            found = re.search(r"at (http://\S+)$", said)
            assert found, said + server.stderr.read()
            return server, found[1]

        yield start


def _end(server):
    if server.poll() is None:
        server.send_signal(signal.SIGKILL)
    server.communicate()
