"""uvicorn's connections, except that idle ones cannot block others and that every handshake is answered."""

from __future__ import annotations

import asyncio
import time

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

#: Headers that a WebSocket handshake needs, besides sec-websocket-…. Browsers send many more, above all cookies.
_NEEDED = {b"host", b"origin", b"connection", b"upgrade"}

_UNREADABLE = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class HttpConnection(H11Protocol):
    """If the server is full, a new connection replaces the one that has been idle longest."""

    limit_concurrency: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._others() + 1 >= self.limit_concurrency:
            idle = [other for other in self.connections if isinstance(other, HttpConnection) and other.is_idle()]
            if idle:
                min(idle, key=lambda other: other.idle_since).transport.abort()
        self.idle_since = time.monotonic()
        super().connection_made(transport)  # type: ignore[arg-type]

    def is_idle(self) -> bool:
        """Whether no complete request has arrived yet, or the last one has been answered."""
        return (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing()

    def on_response_complete(self) -> None:
        self.idle_since = time.monotonic()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Remove unused headers, because ``websockets`` refuses long headers and many of them."""
        if self._others() + 1 >= self.limit_concurrency:
            return self._refuse(503, "This server has too many connections.")
        if event.method != b"GET":
            return self._refuse(405, "A WebSocket is opened with GET.")
        self.headers = [(name, value) for name, value in self.headers
                        if name in _NEEDED or name.startswith(b"sec-websocket-")]
        super().handle_websocket_upgrade(event)

    def _others(self) -> int:
        return sum(other is not self and not other.transport.is_closing() for other in self.connections)

    def _refuse(self, status: int, why: str) -> None:
        for part in (h11.Response(status_code=status, headers=[(b"content-type", b"text/plain; charset=utf-8"),
                                                               (b"connection", b"close")]),
                     h11.Data(data=why.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(part) or b"")
        self.transport.close()


class SocketConnection(WebSocketsSansIOProtocol):
    """Also answers a handshake that ``websockets`` cannot parse."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(b"".join(self.conn.data_to_send()) or _UNREADABLE)
            self.transport.close()
