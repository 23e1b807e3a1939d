"""HTTP of a connection: uvicorn's, and no patience with those that send heads without end, or none at all, or are too many."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from penjing.serve.errors import Refused
from penjing.serve.limits import BEGUN
from penjing.serve.survivor import Copies

HEAD_S = 10.0  # that the head of a request may take
HEAD_BYTES = 64 * 1024


class Guarded(HttpToolsProtocol):
    """One connection.

    most     connections at a time; a process has one number for all, since uvicorn makes them
    copies   where the parent gets its copies; None for a server of one process
    """

    most = 4096
    copies: Copies | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._in_head, self._head_bytes = True, 0
        self._late: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._too_late)
        self._copy = self.copies.opened(transport.get_extra_info("socket").fileno()) if self.copies else None
        if len(self.connections) > self.most:
            self._refuse(Refused(503, "too many connections", "too_many_connections", wanted="fewer connections, or later", later=True))

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(Refused(431, "the head of the request is too long", "head_too_long", wanted=f"at most {HEAD_BYTES:,} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        if self.copies:
            self.copies.closed(self._copy)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._late is None:
            self._late = self.loop.call_later(HEAD_S, self._too_late)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._in_time()
        if self.copies:
            self.copies.waits(self._copy, True)
            self.scope[BEGUN] = self._begun  # type: ignore[literal-required]
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(Refused(400, "this is no HTTP that can be read", "bad_http", wanted="a request of HTTP/1.1"))

    def _begun(self) -> None:
        """The answer begins."""
        if self.copies:
            self.copies.waits(self._copy, False)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._refuse(
            Refused(408, "the head of the request did not come in time", "slow_client", wanted=f"a whole head within {HEAD_S:g} s")
        )

    def _refuse(self, refused: Refused) -> None:
        """Answer what is no request yet, and hang up."""
        if self.transport.is_closing():
            return
        self.transport.write(refused.plain())
        self.transport.close()
