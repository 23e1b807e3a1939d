"""What holds for every request, whatever its route: who may ask, how long a body may be, safe headers, errors as JSON."""

import functools
import ipaddress
import time
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from penjing.serve import Options
from penjing.serve.errors import HEADERS, Refused
from penjing.serve.logs import log
from penjing.serve.metrics import NO_MODEL, Metrics
from penjing.serve.tokens import Tokens

OPEN = {"/", "/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready"}
"""Paths that need no token: the page, which asks for one, and what probes ask."""
NOTED = "penjing"
"""The key of a request's scope under which routes note facts for its line in the log: {"model": ..., "rows": ...}."""

HELD = "penjing.held"
"""The key under which they leave what is to be called when the answer is complete: a model that is kept for it."""

BEGUN = "penjing.begun"
"""The key under which a connection leaves what is to be called when its answer begins."""


class Limits:
    """ASGI middleware around the whole app.

    tokens      of which a request must carry one; None where it needs none
    only_here   whether clients must call the server by a name of this machine: a page that somebody here looks at may else give its own
                name this machine's address, and read what it likes (DNS rebinding)
    """

    def __init__(self, app: ASGIApp, options: Options, metrics: Metrics, tokens: Tokens | None, only_here: bool):
        self._app, self._options, self._metrics, self._tokens, self._only_here = app, options, metrics, tokens, only_here

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        begun, status = time.perf_counter(), 0
        noted: dict[str, Any] = {}
        held: list[Callable[[], None]] = []
        scope[NOTED], scope[HELD] = noted, held
        begins = scope.get(BEGUN)

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if begins:
                    begins()
                named = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in HEADERS.items() if each[0] not in named)]
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._require_welcome(scope, headers)
            await self._app(scope, self._bounded(headers, receive), with_headers)
        except Refused as refused:
            await refused.response()(scope, receive, with_headers)
        except Exception:  # a mistake of penjing, whose trace belongs in the log and not in the answer
            noted["trace"] = traceback.format_exc()
            if not status:
                await Refused(500, "the server made a mistake; its log says which", "mistake").response()(scope, receive, with_headers)
        finally:
            for let_go in held:
                let_go()
            self._tell(scope, noted, status or 499, time.perf_counter() - begun)  # of none: it was cancelled
        return None

    def _require_welcome(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raise Refused with 401 without a token where one is needed, with 403 for what a foreign page makes a browser send."""
        host = headers.get(b"host", b"").decode("latin-1")
        if self._only_here and not _is_here(host, self._options.host):
            wanted = "the name localhost, or --token-file for a server that others call by another"
            raise Refused(403, f"{host[:80]!r} is no name of this machine", "other_host", wanted=wanted)
        if self._tokens and scope["path"] not in OPEN and not self._tokens.allow(headers.get(b"authorization", b"")):
            wanted = "a header Authorization: Bearer TOKEN, with a token of the server's file"
            raise Refused(401, "no token, or a wrong one", "no_token", wanted=wanted, headers={"WWW-Authenticate": "Bearer"})
        origin = headers.get(b"origin")
        if origin and scope["method"] != "GET" and origin.decode("latin-1").partition("://")[2] != host:
            wanted = "a request of this server's own page, or of a program"
            raise Refused(403, "a page of another origin asks", "other_origin", wanted=wanted)

    def _bounded(self, headers: dict[bytes, bytes], receive: Receive) -> Receive:
        """Receive, for a body that is not too long.

        Raises Refused with 413.
        """
        most = self._options.most_body
        if b"content-length" in headers:
            if int(headers[b"content-length"]) > most:  # a parser of HTTP lets digits alone pass
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

    def _tell(self, scope: Scope, noted: dict[str, Any], status: int, seconds: float) -> None:
        endpoint = scope.get("endpoint")
        route = f"{endpoint.__module__.rsplit('.', 1)[-1]}.{endpoint.__name__}" if endpoint else "none"
        self._metrics.request(route, noted.get("model", NO_MODEL), status, seconds)
        if self._options.log == "all" or (self._options.log == "errors" and status >= 500):
            client = (scope.get("client") or ("unknown",))[0]
            level = "error" if status >= 500 else "info"
            log(level, method=scope["method"], path=scope["path"][:200], status=status, ms=round(1000 * seconds, 2), client=client, **noted)


@functools.lru_cache(64)
def _is_here(named: str, listens: str) -> bool:
    try:
        host = urlsplit(f"//{named}").hostname or ""
        return host in ("localhost", listens) or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
