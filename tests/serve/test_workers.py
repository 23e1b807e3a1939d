"""Several processes behind one socket have the same models, and one that is killed is replaced."""

import contextlib
import os
import shutil
import signal
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from penjing import cli
from penjing.serve.workers import Changes
from tests.serve.test_process import post


def asked(address, path, method="GET"):
    try:
        with urllib.request.urlopen(urllib.request.Request(address + path, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def within(seconds, holds):
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def children(process):
    """Those that serve: what spawning itself needs is named otherwise."""
    there = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in there if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
def test_workers_share_a_socket_their_models_and_their_counters(start, text_parent, image_parent, tmp_path):
    shutil.copytree(image_parent, tmp_path / "digits")
    server = start(text_parent, "--workers", "2", "--store", tmp_path)
    address = server.address
    assert [post(address)[0] for _ in range(12)] == [200] * 12
    counted = 'penjing_requests_total{model="text",route="native.predict",status="200"} 12.0'
    assert within(60, lambda: counted in asked(address, "/metrics")[1])

    assert asked(address, "/v1/models/digits", "PUT")[0] == 200
    within(60, lambda: all(asked(address, "/v1/models/digits")[0] == 200 for _ in range(30)))

    first, second = within(60, lambda: len(found := children(server.process)) == 2 and found)
    os.kill(first, signal.SIGKILL)
    within(60, lambda: len(found := children(server.process)) == 2 and first not in found)
    within(60, lambda: all(asked(address, "/v1/models/digits")[0] == 200 for _ in range(30)))
    assert second in children(server.process)

    assert asked(address, "/v1/models/digits", "DELETE")[0] == 200
    within(60, lambda: all(asked(address, "/v1/models/digits")[0] == 404 for _ in range(30)))
    assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
def test_clients_of_a_worker_that_is_killed_get_a_503_and_idle_ones_the_end(start, text_parent):
    server = start(text_parent, "--workers", "2")
    assert post(server.address)[0] == 200
    here = urllib.parse.urlsplit(server.address)
    with contextlib.ExitStack() as opened:
        asks, idle, unread = (opened.enter_context(socket.create_connection((here.hostname, here.port))) for _ in range(3))
        head = f"POST /v1/models/text/predict HTTP/1.1\r\nHost: {here.netloc}\r\nContent-Length: 100\r\n\r\n"
        asks.sendall(head.encode() + b'{"inputs": [')
        whole = f"GET /health HTTP/1.1\r\nHost: {here.netloc}\r\n\r\n".encode()
        for connection in (idle, unread):
            connection.sendall(whole)
            told = b""
            while not told.endswith(b"}"):
                told += connection.recv(2**16)
        time.sleep(0.5)  # until the first is read as far as it goes
        for pid in children(server.process):
            os.kill(pid, signal.SIGSTOP)
        unread.sendall(whole)
        for pid in children(server.process):
            os.kill(pid, signal.SIGKILL)
        for told in map(read_all, (asks, unread)):
            assert told.startswith(b"HTTP/1.1 503") and b"retry-after: 1\r\n" in told and b"has died" in told
        assert read_all(idle) == b""
    assert within(60, lambda: post(server.address)[0] == 200)
    assert server.stop() == 0


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes as Linux shows them")
def test_workers_end_with_a_parent_that_is_killed(start, text_parent):
    server = start(text_parent, "--workers", "2")
    assert post(server.address)[0] == 200
    workers = within(60, lambda: len(found := children(server.process)) == 2 and found)
    server.process.kill()
    within(60, lambda: not any(alive(pid) for pid in workers))


def alive(pid):
    """Whether a process runs; one that has ended may still wait for somebody to ask how."""
    try:
        return "(zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def read_all(connection):
    """What comes until the other side hangs up."""
    connection.settimeout(20)
    return b"".join(iter(lambda: connection.recv(2**16), b""))


def test_a_change_is_news_once_and_not_to_whom_made_it(tmp_path):
    one, other = Changes(tmp_path), Changes(tmp_path)
    assert one.news() == []
    one.note("a", there=True)
    assert one.news() == [] and other.news() == [("a", True)] and other.news() == []
    other.note("a", there=False)
    one.note("b", there=True)
    assert one.news() == [("a", False)] and other.news() == [("b", True)]
    assert sorted(Changes(tmp_path).news()) == [("a", False), ("b", True)]  # a worker in the place of another


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_server(text_parent, tmp_path, capfd):
    shutil.copytree(text_parent, tmp_path / "text")
    (tmp_path / "text" / "tokenizer.json").unlink()
    for name in ("tokenizer_config.json", "vocab.txt"):
        (tmp_path / "text" / name).unlink(missing_ok=True)
    assert cli.main(["serve", str(tmp_path / "text"), "--workers", "2", "--port", "0"]) == 2
    said = capfd.readouterr().err
    assert "holds no tokenizer" in said and "a worker could not start" in said and "Traceback" not in said
