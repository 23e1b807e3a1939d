"""How fast a model answers is told by number of clients, as a table, as JSON and as a page."""

import asyncio
import contextlib
import json
import socket

import pytest

from penjing import cli
from penjing.core.errors import ModelError
from penjing.core.find import find, names
from penjing.core.options import build
from penjing.serve import Options, bench, driving
from penjing.serve.inputs import rows_of

QUICK = ("--seconds=0.4", "--threads=1", "--quiet")


def answers(*replies):
    """A server on a free port that gives each request the next of these replies, in pieces of seven bytes; None hangs up."""

    left = iter(replies)

    async def one(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(len(b'{"a": 1}'))
                if (reply := next(left)) is None:
                    return
                for start in range(0, len(reply), 7):
                    writer.write(reply[start : start + 7])
                    await writer.drain()

    return asyncio.start_server(one, "127.0.0.1", 0)


async def driven(replies, clients, seconds):
    async with await answers(*replies) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return await driving.closed(url, [driving.post(url + "/a", {"a": 1})], clients, seconds)


def test_a_client_reads_answers_in_whatever_pieces_they_come_and_tells_those_that_are_lost():
    replies = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nyo", b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n", None]
    found = asyncio.run(driven(replies * 2000, 1, 0.2))
    assert [(each.status, each.body) for each in found[:4]] == [(200, b"yo"), (429, b""), (driving.LOST, b""), (200, b"yo")]


def test_requests_at_a_pace_come_at_that_pace_and_are_timed_from_when_they_were_due():
    async def asked():
        async with await answers(*[b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] * 1000) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            return await driving.paced(url, [driving.post(url, {"a": 1})], 300, 1.0)

    found = asyncio.run(asked())
    assert 240 < len(found) < 360 and all(each.seconds > 0 and each.status == 200 for each in found)  # Poisson: 300 with a deviation of 17


def test_a_server_that_never_answers_is_told(monkeypatch):
    monkeypatch.setattr(driving, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        for asking in (driving.closed(url, [b"-"], 2, 0.1), driving.paced(url, [b"-"], 100, 0.1)):
            with pytest.raises(ModelError, match="without an answer"):
                bench.run(asking)


def test_the_curve_of_a_server_as_table_json_and_page(text_parent, tmp_path, capsys):
    out = tmp_path / "bench.html"
    (tmp_path / "rows.csv").write_text("text,label,note\na lovely film,positive,what no model reads\n")
    assert cli.main(["bench", str(text_parent), str(tmp_path / "rows.csv"), "so dull", "--clients=1,4", f"--out={out}", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "rows a second" in said and "At half of the best rate" in said and "Ready" in said and "Memory" in said
    page = out.read_text("utf-8")
    assert "<svg" in page and "How fast text answers" in page and "99 of 100 under" in page


def test_a_model_that_is_called_directly_told_for_programs(text_parent, capsys):
    assert cli.main(["bench", str(text_parent), "--direct", "--clients=1,8", "--json", *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [point["at_once"] for point in found["points"]] == [1, 8] and found["how"] == "direct" and found["half_load"] is None
    for point in found["points"]:
        assert point["rate"] > 0 and point["p50_ms"] <= point["p95_ms"] <= point["p99_ms"] and point["failed"] == 0
    assert found["num_rows"] == bench.NUM_MADE_UP and found["memory_bytes"] > 10**7 and found["environment"]["cores"]


def test_a_server_that_runs_already_is_asked_and_what_it_refuses_is_told(text_parent, start, capsys):
    url = start(text_parent, "--log=none", "--most-characters=20").address
    assert cli.main(["bench", str(text_parent), "a lovely film", "--url", url, "--clients=2", "--json", *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["points"][0]["requests"] > 0 and found["ready_s"] is None and found["memory_bytes"] is None
    assert cli.main(["bench", str(text_parent), "a film of very many words", "--url", url, *QUICK]) == 2
    assert "answers 413" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--direct", "--url=http://127.0.0.1:1"], "--direct asks no server"),
        (["--direct", "--batch-rows=8"], "--batch-rows changes nothing"),
        (["--url=http://127.0.0.1:1", "--queue=8"], "--queue changes nothing"),
        (["--clients=0"], "--clients cannot be '0'"),
        (["--seconds=soon"], "--seconds cannot be 'soon'"),
        (["--host=0.0.0.0", *QUICK], "did not start"),
        (["--url=http://127.0.0.1:1", *QUICK], "cannot be asked"),
        (["--url=nowhere", *QUICK], "cannot be asked"),
    ],
)
def test_what_cannot_be_measured_is_refused(text_parent, words, said, capsys):
    assert cli.main(["bench", str(text_parent), *words]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told and "  next  " in told


@pytest.mark.parametrize("name", names("tasks"))
def test_rows_that_are_made_up_are_rows_of_every_task(name):
    task = find("tasks", name).TASK(["a", "b"])
    rows = bench.made_up(task)
    assert len(rows_of([bench.sent(row) for row in rows[:8]], task, build(Options, {}))) == 8
