"""Server-sent events: an answer while it is made.

WHATWG HTML, section 9.2, with the last event of OpenAI's: "[DONE]".
"""

import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from penjing.serve import Options
from penjing.serve.asking import answered
from penjing.serve.errors import Refused

HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]  # nginx would wait for more


class Events(Response):
    """An answer of JSON objects, each sent when it is there; what is refused before the first has its status, later it is an event."""

    def __init__(self, request: Request, events: AsyncGenerator[dict[str, Any]], options: Options):
        super().__init__()
        self._request, self._events, self._options = request, events, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        started = False

        async def sent() -> None:
            nonlocal started
            async with contextlib.aclosing(self._events) as events:
                async for event in events:
                    if not started:
                        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                        started = True
                    await send(_message(json.dumps(event, ensure_ascii=False, separators=(",", ":"))))

        try:
            await answered(self._request, sent(), self._options)
        except Refused as refused:
            if not started:
                raise
            await send(_message(json.dumps(refused.told(), ensure_ascii=False)))
        else:
            await send(_message("[DONE]"))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _message(data: str) -> dict[str, Any]:
    return {"type": "http.response.body", "body": f"data: {data}\n\n".encode(), "more_body": True}
