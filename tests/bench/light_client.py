"""An HTTP client that takes little of the machine that it measures: requests made beforehand, keep-alive.

On the two cores that a bench has, httpx takes as much as the server it asks; this takes a tenth of that.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

import uvloop

_END_OF_HEAD = b"\r\n\r\n"


class UnexpectedAnswer(RuntimeError):
    """A server answered a bench with an error, or not as HTTP; the message holds the answer's beginning."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many jobs a second, and how much of one core the asking took (1.0: all of it)."""

    per_second: float
    client_cores: float


class Connection(asyncio.Protocol):
    """One connection that carries one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the loop: the answer is there once its announced length is."""
        self._received += data
        head, separator, body = bytes(self._received).partition(_END_OF_HEAD)
        if not separator or self._answer is None or self._answer.done():
            return
        lower = head.lower()
        place = lower.find(b"content-length:")
        if place < 0:
            self._answer.set_exception(UnexpectedAnswer(f"an answer without a length: {head[:200]!r}"))
        elif len(body) >= int(lower[place + 15 :].split(b"\r\n", 1)[0]):
            self._received.clear()
            if head[9:10] == b"2":
                self._answer.set_result(body)
            else:
                self._answer.set_exception(UnexpectedAnswer(f"{head[:40]!r} {body[:500]!r}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or UnexpectedAnswer("the server closed the connection"))

    async def ask(self, request: bytes) -> bytes:
        """Send a whole request and give the body of its answer. Raises ``UnexpectedAnswer`` but for 2xx."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def request_bytes(url: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """A POST of ``body`` as JSON, as it goes over the wire."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


def drive(
    url: str, jobs: Iterator[Callable[[Connection], Awaitable[object]]], *, count: int, concurrent: int
) -> Rate:
    """Do ``count`` jobs over so many connections, each taking the next job when it has done one."""
    return uvloop.run(_drive(url, jobs, count, concurrent))


async def _drive(
    url: str, jobs: Iterator[Callable[[Connection], Awaitable[object]]], count: int, concurrent: int
) -> Rate:
    loop = asyncio.get_running_loop()
    address = urlsplit(url)
    assert address.hostname is not None
    assert address.port is not None
    connections = []
    for _ in range(concurrent):
        _, connection = await loop.create_connection(Connection, address.hostname, address.port)
        connections.append(connection)
    left = iter(range(count))

    async def work(connection: Connection) -> None:
        for _ in left:
            await next(jobs)(connection)

    began, busy = time.perf_counter(), time.process_time()
    try:
        await asyncio.gather(*(work(connection) for connection in connections))
        seconds = time.perf_counter() - began
        return Rate(count / seconds, (time.process_time() - busy) / seconds)
    finally:
        for connection in connections:
            connection.close()
