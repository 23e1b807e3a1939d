"""What a client did wrong, or what the server cannot do now, as one JSON object: what failed, what was wanted, one short word."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from penjing.core.errors import PenjingError

KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error", 503: "overloaded_error"}
"""The `type` of an error by its status, in OpenAI's words; "invalid_request_error" for any other below 500."""


HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
"""Of every answer that does not say otherwise."""


class Refused(Exception):
    """An answer that is an error.

    status    of HTTP
    message   what failed
    wanted    what would have been right
    code      one short word for programs
    later     whether the same request may do in a second
    """

    def __init__(
        self, status: int, message: str, code: str, *, wanted: str | None = None, later: bool = False,
        headers: Mapping[str, str] | None = None,
    ):  # fmt: skip
        super().__init__(message)
        self.status, self.message, self.code, self.wanted = status, message, code, wanted
        self.headers = {**(headers or {}), **({"Retry-After": "1"} if later else {})}

    @classmethod
    def of(cls, error: PenjingError, place: str) -> "Refused":
        """An input that the task or its processor cannot use."""
        return cls(422, f"{place}: {error.problem}", "bad_input", wanted=error.wanted)

    @classmethod
    def full(cls) -> "Refused":
        """More than a queue holds."""
        return cls(429, "too many rows wait for this model", "queue_full", wanted="the same request later", later=True)

    @classmethod
    def unloading(cls) -> "Refused":
        """Asked of a model that is about to end."""
        return cls(503, "the model is being unloaded", "unloading", wanted="the same request later", later=True)

    def told(self) -> dict[str, Any]:
        """The body."""
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "wanted": self.wanted, "type": kind, "code": self.code}}

    def response(self) -> Response:
        """The whole answer."""
        return as_json(self.told(), self.status, self.headers)

    def plain(self) -> bytes:
        """It as bytes of HTTP/1.1, for a connection that has no request yet, or nobody who could answer it."""
        response = self.response()
        headers = {**HEADERS, **dict(response.raw_headers), b"connection": b"close"}
        head = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode(), *(b"%b: %b" % each for each in headers.items())]
        return b"\r\n".join([*head, b"", bytes(response.body)])


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A value as an answer."""
    try:
        content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a pair, which JSON alone can write
        content = json.dumps(value, separators=(",", ":")).encode()
    return Response(content, status, headers, "application/json")
