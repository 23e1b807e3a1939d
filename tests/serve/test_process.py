"""The server as its users start it: a process on a free port, stopped by a signal, met by clients of every kind."""

import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest

from penjing import cli
from penjing.core.runtime import for_children

ASK = json.dumps({"inputs": ["a lovely film"] * 4}).encode()


def post(address, body=ASK, path="/v1/models/text/predict", headers=(), timeout=30):
    """(status, JSON, headers) of a request."""
    request = urllib.request.Request(address + path, body, dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def raw(address, *parts, pause=0.0, wait=20):
    """What the server says to bytes on a socket, until it hangs up."""
    host, port = re.fullmatch(r"http://(.+):(\d+)", address).groups()
    with socket.create_connection((host, int(port)), timeout=wait) as client:
        for part in parts:
            client.sendall(part)
            time.sleep(pause)
        said = b""
        while piece := client.recv(65536):
            said += piece
    return said


def test_it_starts_answers_and_drains_on_sigterm(start, text_parent):
    server = start(text_parent)
    address = server.address
    assert post(address)[1]["predictions"][0]["value"] in ("good", "bad")
    answers, stopping = [], threading.Event()

    def ask():
        while not stopping.is_set():
            try:
                answers.append(post(address)[0])
            except (urllib.error.URLError, ConnectionError) as error:
                reason = getattr(error, "reason", error)
                answers.append(reason)  # refused once it listens no more
                break

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert server.stop() == 0
    stopping.set()
    for thread in threads:
        thread.join()
    late = {ConnectionRefusedError, ConnectionResetError, BrokenPipeError}  # by how far a request came that nobody accepted
    assert answers.count(200) > 8 and {*map(type, answers)} <= {int, *late}, answers
    assert sum(line["status"] == 200 for line in server.lines()) == answers.count(200) + 1, "what was computed was answered"


def test_two_models_of_one_name_are_refused_with_what_to_do(text_parent, tmp_path, capsys):
    other = tmp_path / "text"
    other.symlink_to(text_parent)
    twin = tmp_path / "deeper" / "text"
    twin.parent.mkdir()
    twin.mkdir()
    for path in text_parent.iterdir():
        if path.is_file():
            (twin / path.name).write_bytes(path.read_bytes())
    assert cli.main(["serve", str(text_parent), str(twin), "--port", "0"]) == 2
    said = capsys.readouterr().err
    assert "would both be served as 'text'" in said and "next    rename one of the directories" in said


def test_a_port_that_is_taken_is_refused_before_a_model_is_read(text_parent, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["serve", str(text_parent), "--port", str(taken.getsockname()[1])]) == 2
    said = capsys.readouterr().err
    assert "cannot be listened on" in said and "--port 0" in said


def test_without_the_extra_it_says_which_to_install(text_parent):
    code = "import sys; sys.modules['uvicorn'] = None; from penjing.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "serve", str(text_parent)], capture_output=True, text=True, env=for_children())
    assert done.returncode == 2 and "pip install 'penjing[serve]'" in done.stderr and "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def address(start, text_parent):
    """That of a server which tests share."""
    return start(text_parent, "--queue", "8", "--connections", "50", "--log", "none").address


def alive(address):
    return post(address)[0] == 200


def test_more_rows_than_may_wait_get_429_and_when_to_come_again(address):
    status, said, headers = post(address, json.dumps({"inputs": ["a"] * 9}).encode())
    assert status == 429 and said["error"]["code"] == "queue_full" and headers["Retry-After"] == "1" and alive(address)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"\x16\x03\x01 no HTTP\r\n\r\n", 400, "bad_http"),
        (b"GET / HTTP/1.1\r\n" + b"x-a: " + b"b" * 70_000, 431, "head_too_long"),
        (b"GET /" + b"a" * 70_000, 431, "head_too_long"),
        (b"POST /v1/models/text/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", 400, "bad_http"),
        (b"POST /v1/models/text/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999\r\n\r\n", 413, "too_large"),
        (b"GET /v1/models HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n", 403, "other_host"),
        (b"GET /v1/models HTTP/1.0\r\n\r\n", 403, "other_host"),
        (b"BREW / HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, "bad_http"),
    ],
)
def test_what_is_no_good_http_is_refused_as_json(address, sent, status, code):
    said = raw(address, sent)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status) and json.loads(body)["error"]["code"] == code, said
    assert b"nosniff" in head and alive(address)


def test_a_flood_of_heads_is_refused(address):
    said = raw(address, b"GET / HTTP/1.1\r\n" + b"".join(b"x-%d: a\r\n" % i for i in range(9000)))
    assert said.startswith(b"HTTP/1.1 431") and alive(address)


def test_a_client_that_leaves_stops_nobody(address):
    host, port = re.fullmatch(r"http://(.+):(\d+)", address).groups()
    for _ in range(20):
        client = socket.create_connection((host, int(port)))
        client.sendall(b"POST /v1/models/text/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(ASK) + ASK)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # hang up by a reset
        client.close()
    for _ in range(100):  # what they asked may fill the queue until the server has seen them go
        if alive(address):
            return
        time.sleep(0.05)
    raise AssertionError("nobody is answered any more")


def test_more_clients_than_may_connect_are_told_to_come_later(address):
    host, port = re.fullmatch(r"http://(.+):(\d+)", address).groups()
    idle = [socket.create_connection((host, int(port))) for _ in range(50)]
    try:
        said = raw(address)
        assert said.startswith(b"HTTP/1.1 503") and b"too_many_connections" in said and b"retry-after" in said
    finally:
        for client in idle:
            client.close()
    time.sleep(0.2)
    assert alive(address)


def test_requests_on_one_connection_one_behind_the_other_are_answered_in_their_order(address):
    one = b"POST /v1/models/text/predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(ASK) + ASK
    last = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    said = raw(address, one * 3 + last)
    assert said.count(b"HTTP/1.1 200") == 4 and said.endswith(b'{"status":"ok"}')
