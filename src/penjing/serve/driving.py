"""A client that costs little beside the server that it measures: requests written before, over kept connections, each of them timed."""

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from penjing.core.errors import ModelError

LOST = 0
"""The status of a request whose connection ended before its answer."""
PATIENCE_S = 60.0  # for answers that are still out when the time is over


class Answered(NamedTuple):
    """A request and its end.

    number    of the request in its list
    begun     seconds of time.perf_counter when it was sent, or should have been
    seconds   from then to the last byte of its answer
    status    of HTTP, or LOST
    """

    number: int
    begun: float
    seconds: float
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """A kept connection, for one request at a time."""

    def __init__(self) -> None:
        self._held, self._length, self._status, self._last = b"", -1, LOST, False
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        """Whether it can be asked."""
        return self._transport is not None and not self._last

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        """Send a request: status and body of its answer, which has a Content-Length."""
        self._answer = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Leave, whatever is still to come."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as every TCP transport is
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        if self._length < 0 and (end := self._held.find(b"\r\n\r\n")) >= 0:
            head = self._held[:end].lower()
            self._status, self._held = int(head[9:12]), self._held[end + 4 :]
            self._length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            self._last = b"connection: close" in head
        if 0 <= self._length <= len(self._held):
            body, self._held, self._length = self._held, b"", -1
            self._tell(self._status, body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._tell(LOST, b"")

    def _tell(self, status: int, body: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))


def post(url: str, body: object, token: str | None = None) -> bytes:
    """A request that asks about a body of JSON, as the bytes that are sent."""
    return request(url, json.dumps(body, ensure_ascii=False).encode(), token)


def request(url: str, content: bytes, token: str | None = None, method: str = "POST") -> bytes:
    """Any request, as the bytes that are sent."""
    place = urlsplit(url)
    lines = [
        f"{method} {place.path} HTTP/1.1",
        f"host: {place.netloc}",
        "content-type: application/json",
        f"content-length: {len(content)}",
    ]
    if token:
        lines.append(f"authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode() + content


async def connect(url: str) -> Connection:
    """A connection to the host and port of an address."""
    place = urlsplit(url)
    _, connection = await asyncio.get_running_loop().create_connection(Connection, place.hostname or "", place.port or 80)
    return connection


async def closed(url: str, requests: Sequence[bytes], clients: int, seconds: float) -> list[Answered]:
    """So many clients for so long, each of which asks again as soon as it has its answer; the requests in turn, from the first.

    Raises ModelError for a server that leaves requests without an end.
    """
    found: list[Answered] = []
    turns = itertools.cycle(range(len(requests)))
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = await connect(url)
        try:
            while (begun := time.perf_counter()) < end:
                if not connection.open:
                    connection = await connect(url)
                number = next(turns)
                status, body = await connection.ask(requests[number])
                found.append(Answered(number, begun, time.perf_counter() - begun, status, body))
        finally:
            connection.close()

    await _all((client() for _ in range(clients)), url, seconds + PATIENCE_S)
    return found


async def paced(url: str, requests: Sequence[bytes], rate: float, seconds: float, seed: int = 0) -> list[Answered]:
    """Requests that come at random, `rate` a second on average, whether the server keeps up or not.

    Their time begins when they were due, so that one that the client was late with is not told as fast.

    Raises ModelError for a server that leaves requests without an end.
    """
    found: list[Answered] = []
    idle: list[Connection] = []
    draw, start = random.Random(seed), time.perf_counter()

    async def one(number: int, due: float) -> None:
        while idle and not idle[-1].open:  # one that the server has ended, idle for too long
            idle.pop()
        connection = idle.pop() if idle else await connect(url)
        try:
            status, body = await connection.ask(requests[number])
        except asyncio.CancelledError:
            connection.close()
            raise
        found.append(Answered(number, due, time.perf_counter() - due, status, body))
        if connection.open:
            idle.append(connection)

    due, asked = start, []
    for number in itertools.cycle(range(len(requests))):
        due += draw.expovariate(rate)
        if due > start + seconds:
            break
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        asked.append(asyncio.create_task(one(number, due)))
    await _all(asked, url, PATIENCE_S)
    for connection in idle:
        connection.close()
    return found


async def _all(asked: Iterable[Awaitable[None]], url: str, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await asyncio.gather(*asked)
    except TimeoutError:
        raise ModelError(f"{url} leaves requests without an answer for {PATIENCE_S:g} s") from None
