"""One caller's connection. uvicorn waits for ever for the head of a first request, or of one whose first byte has come,
and takes any number of connections: each of either kind holds an open file."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from gr_vl.server.settings import Settings

FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """Ends when a request's head takes longer than `timeout` seconds; told 503 where `max_connections` are open."""

    limits: Settings
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a first request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            transport.write(FULL)
            transport.close()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Read on."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for another request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        # h11 calls it idle until the last byte of the head is there.
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(self.limits.timeout, self.transport.abort)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def bound(settings: Settings) -> type[Connection]:
    """The connections of a server with these limits."""
    return type("Bound", (Connection,), {"limits": settings})
