"""An HTTP/1.1 server for loopback, on asyncio alone: cheap enough to be measured against.

Bodies have a Content-Length; a connection's requests are answered one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    429: "Too Many Requests",
    500: "Internal Server Error",
}
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; header names in lower case."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Asked], Awaitable[Answered]]


@dataclass
class PlainServer:
    """Serves ``handler`` on a port of 127.0.0.1; may be stopped and started again under the same port."""

    handler: Handler
    port: int = 0
    _server: asyncio.Server | None = None
    _connections: set[_Connection] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on a free port the first time."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self.handler, self._connections), "127.0.0.1", self.port, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections from now on, and break those that are open."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.abort()
        self._server = None


class _Connection(asyncio.Protocol):
    def __init__(self, handler: Handler, all_of_them: set[_Connection]) -> None:
        self._handler = handler
        self._all = all_of_them
        self._buffer = b""
        self._work: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._all.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.discard(self)
        if self._work is not None:
            self._work.cancel()

    def abort(self) -> None:
        """Break the connection, whatever goes on."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        if self._work is not None:
            return
        asked = self._take()
        if asked is not None:
            self._work = asyncio.ensure_future(self._answer(asked))

    def _take(self) -> Asked | None:
        head, found, rest = self._buffer.partition(_END)
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return None
        self._buffer = rest[length:]
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        return Asked(method, path, query, headers, rest[:length])

    async def _answer(self, asked: Asked) -> None:
        try:
            told = await self._handler(asked)
        except Exception as error:  # a server answers, whatever went wrong in it
            told = Answered(f"{type(error).__name__}: {error}".encode(), 500, "text/plain")
        head = [
            f"HTTP/1.1 {told.status} {_REASONS.get(told.status, 'Status')}",
            f"content-type: {told.content_type}",
            f"content-length: {len(told.body)}",
            *(f"{name}: {value}" for name, value in told.headers),
        ]
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write("\r\n".join(head).encode("latin-1") + _END + told.body)
        self._work = None
        self._next()
