"""What holds for every request, whatever its route: the size of bodies, headers that keep browsers safe, errors as JSON."""

import json
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penjing.serve import Options
from penjing.serve.errors import Refused

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not say otherwise."""


class Limits:
    """ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp, options: Options):
        self._app, self._options = app, options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status = time.perf_counter(), 0

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, self._bounded(scope, receive), with_headers)
        except Refused as refused:
            await refused.response()(scope, receive, with_headers)
        except Exception:  # a mistake of penjing, whose trace belongs in the log and not in the answer
            log(level="error", path=scope["path"], trace=traceback.format_exc())
            if not status:
                await Refused(500, "the server made a mistake; its log says which", "mistake").response()(scope, receive, with_headers)
        finally:
            log(
                level="info", method=scope["method"], path=scope["path"][:200], status=status,
                ms=round(1000 * (time.perf_counter() - begun), 2), client=(scope.get("client") or ["?"])[0],
            )  # fmt: skip
        return None

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """Receive, for a body that is not too long.

        Raises Refused with 413.
        """
        most = self._options.most_body
        said = next((value for name, value in scope["headers"] if name == b"content-length"), None)
        if said is not None:
            if int(said) > most:  # a parser of HTTP lets digits alone pass
                raise self._too_long()
            return receive
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise self._too_long()
            return message

        return counted

    def _too_long(self) -> Refused:
        wanted = f"at most {self._options.most_body:,} bytes"
        return Refused(413, "the body is too long", "too_large", wanted=wanted, headers={"Connection": "close"})


def log(**facts: Any) -> None:
    """One line of JSON on standard error."""
    line: Mapping[str, Any] = {"time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()), **facts}
    print(json.dumps(line, ensure_ascii=False), file=sys.stderr, flush=True)
