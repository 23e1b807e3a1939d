"""How long a head may take says nothing of how long an answer may."""

import asyncio
import socket
import threading

import httpx2
import uvicorn
from starlette.responses import PlainTextResponse

from penjing.serve import protocol


async def slow(scope, receive, send):
    await asyncio.sleep(0.6)
    await PlainTextResponse("answered")(scope, receive, send)


def test_an_answer_may_take_longer_than_a_head(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(slow, http=protocol.Guarded, lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with httpx2.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            answers = [client.post("/", content=b"asked").text for _ in range(2)]  # on one connection
        server.should_exit = True
        thread.join()
    assert answers == ["answered"] * 2
