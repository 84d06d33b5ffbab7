"""A KFP server that answers what a test lays out, through httpx's own transport seam."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.retry import RetryPolicy

Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def ok(body: Any) -> httpx.Response:
    """A JSON answer."""
    return httpx.Response(200, json=body)


def failed(status: int, message: str = "no", **headers: str) -> httpx.Response:
    """An error in KFP's shape."""
    return httpx.Response(
        status, json={"error": message, "code": 13, "message": message}, headers=dict(headers)
    )


@dataclass
class FakeServer:
    """Gives its replies in order, the last one again and again, and keeps what it was asked."""

    replies: Sequence[Reply]
    requests: list[httpx.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        await request.aread()
        reply = self.replies[min(len(self.requests), len(self.replies) - 1)]
        self.requests.append(request)
        if isinstance(reply, Exception):
            raise reply
        if callable(reply):
            return reply(request)
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    async def sleep(self, seconds: float) -> None:
        """Stands in for waiting, and notes how long it would have been."""
        self.slept.append(seconds)

    def client(
        self,
        base_url: str = "http://kfp.example",
        *,
        token: TokenSource | None = None,
        timeout_seconds: float = 30.0,
        retry: RetryPolicy | None = None,
    ) -> KfpClient:
        """A client that reaches nothing but this server."""
        return KfpClient(
            base_url,
            token=token,
            timeout_seconds=timeout_seconds,
            transport=httpx.MockTransport(self.handle),
            retry=retry,
            sleep=self.sleep,
        )

    def body(self, number: int = -1) -> Any:
        """The JSON that a request carried."""
        return json.loads(self.requests[number].content)
