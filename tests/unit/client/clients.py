"""Both clients behind one blocking face, over the fake bridge and a clock that a test owns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bridge.client.api import AsyncBridgeClient
from bridge.client.network import AsyncNetwork, BlockingNetwork
from bridge.client.sync import BridgeClient
from tests.unit.client.fake_bridge import URL, FakeBridge


class Clock:
    """Time that passes only when somebody sleeps, or when the test says so."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def pass_time(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class AsyncNetworkOnClock(AsyncNetwork):
    def __init__(self, bridge: FakeBridge, clock: Clock, token: str | None) -> None:
        super().__init__(URL, token, 30.0, bridge.transport())
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.pass_time(seconds)

    def now(self) -> float:
        return self._clock.time


class BlockingNetworkOnClock(BlockingNetwork):
    def __init__(self, bridge: FakeBridge, clock: Clock, token: str | None) -> None:
        super().__init__(URL, token, 30.0, bridge.transport())
        self._clock = clock

    async def sleep(self, seconds: float) -> None:
        self._clock.pass_time(seconds)

    def now(self) -> float:
        return self._clock.time


class EitherClient:
    """``await either.call("get_run", run_id)`` asks the one client or the other."""

    def __init__(
        self, kind: str, bridge: FakeBridge, clock: Clock, *, token: str | None = None, **options: Any
    ) -> None:
        self.kind = kind
        if kind == "async":
            network = AsyncNetworkOnClock(bridge, clock, token)
            self.client: Any = AsyncBridgeClient(URL, network=network, **options)
        else:
            blocking = BlockingNetworkOnClock(bridge, clock, token)
            self.client = BridgeClient(URL, network=blocking, **options)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        answer = getattr(self.client, method)(*args, **kwargs)
        return await answer if isinstance(answer, Awaitable) else answer

    async def take(self, method: str, *args: Any, most: int = 1000, **kwargs: Any) -> list[Any]:
        """The first items of what the method iterates over."""
        found = getattr(self.client, method)(*args, **kwargs)
        items: list[Any] = []
        if self.kind == "async":
            async for item in found:
                items.append(item)
                if len(items) >= most:
                    break
            await found.aclose()
            return items
        for item in found:
            items.append(item)
            if len(items) >= most:
                break
        found.close()
        return items

    async def close(self) -> None:
        await self.call("close")


MakeClient = Callable[..., EitherClient]


def refused(_: Any = None) -> httpx.ConnectError:
    """What httpx raises when nobody listens."""
    error = httpx.ConnectError("All connection attempts failed")
    error.__cause__ = ConnectionRefusedError(111, "Connection refused")
    return error
