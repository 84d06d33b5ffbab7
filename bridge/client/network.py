"""The only place where the client touches a network or a clock: one seam, in two colours.

The client's logic is written once, as coroutines over ``Network``. ``AsyncNetwork`` really awaits.
``BlockingNetwork`` offers the same coroutines, which block instead and never suspend, so that
``run_blocking`` can finish them without any event loop (also inside a running one, as in a notebook).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import Any, Protocol, TypeVar

import httpx

from bridge.client.wire import PREFIX, Call, bearer, unreachable

T = TypeVar("T")


class Network(Protocol):
    """What the client's logic needs of the world. Failures of the exchange raise ``BridgeUnreachable``."""

    async def send(self, call: Call[Any], *, stream: bool = False) -> httpx.Response: ...

    def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]: ...

    def lines(self, response: httpx.Response) -> AsyncIterator[str]: ...

    async def read(self, response: httpx.Response) -> None: ...

    async def release(self, response: httpx.Response) -> None: ...

    async def sleep(self, seconds: float) -> None: ...

    def now(self) -> float: ...

    async def close(self) -> None: ...


class _Settings:
    """What both networks are made from."""

    def __init__(self, url: str, token: str | None, timeout_seconds: float) -> None:
        self.url = url
        self.timeout_seconds = timeout_seconds
        self.headers: Mapping[str, str] = bearer(token)

    def request_of(self, call: Call[Any]) -> dict[str, Any]:
        timeout = httpx.Timeout(self.timeout_seconds, read=self.read_seconds(call))
        wanted: dict[str, Any] = {
            "method": call.method,
            "url": f"{self.url}{PREFIX}{call.path}",
            "params": dict(call.params),
            "headers": dict(call.headers),
            "timeout": timeout,
        }
        return wanted if call.body is None else {**wanted, "json": call.body}

    def read_seconds(self, call: Call[Any]) -> float:
        return self.timeout_seconds + call.wait_seconds


class AsyncNetwork:
    """Over ``httpx.AsyncClient``."""

    def __init__(
        self, url: str, token: str | None, timeout_seconds: float, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        self._settings = _Settings(url, token, timeout_seconds)
        self._http = httpx.AsyncClient(headers=self._settings.headers, transport=transport)

    async def send(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        request = self._http.build_request(**self._settings.request_of(call))
        try:
            return await self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.read_seconds(call)) from error

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes():
                yield chunk
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def lines(self, response: httpx.Response) -> AsyncIterator[str]:
        try:
            async for line in response.aiter_lines():
                yield line
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def read(self, response: httpx.Response) -> None:
        try:
            await response.aread()
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def release(self, response: httpx.Response) -> None:
        await response.aclose()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def now(self) -> float:
        return time.monotonic()

    async def close(self) -> None:
        await self._http.aclose()


class BlockingNetwork:
    """Over ``httpx.Client``: every coroutine here blocks and never suspends."""

    def __init__(
        self, url: str, token: str | None, timeout_seconds: float, transport: httpx.BaseTransport | None
    ) -> None:
        self._settings = _Settings(url, token, timeout_seconds)
        self._http = httpx.Client(headers=self._settings.headers, transport=transport)

    async def send(self, call: Call[Any], *, stream: bool = False) -> httpx.Response:
        request = self._http.build_request(**self._settings.request_of(call))
        try:
            return self._http.send(request, stream=stream)
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.read_seconds(call)) from error

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            for chunk in response.iter_bytes():
                yield chunk
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def lines(self, response: httpx.Response) -> AsyncIterator[str]:
        try:
            for line in response.iter_lines():
                yield line
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def read(self, response: httpx.Response) -> None:
        try:
            response.read()
        except httpx.TransportError as error:
            raise unreachable(error, self._settings.url, self._settings.timeout_seconds) from error

    async def release(self, response: httpx.Response) -> None:
        response.close()

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this network is for

    def now(self) -> float:
        return time.monotonic()

    async def close(self) -> None:
        self._http.close()


def run_blocking(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends, such as one over a ``BlockingNetwork``."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("a blocking call suspended; it must only await a BlockingNetwork")
