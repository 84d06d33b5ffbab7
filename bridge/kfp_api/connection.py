"""The connection to one KFP server: how calls are made and repeated, whatever they ask."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import httpx

from bridge.kfp_api import grpcweb
from bridge.kfp_api.answers import MessageT, grpc_payload, json_object, parse_answer
from bridge.kfp_api.auth import Bearer
from bridge.kfp_api.errors import Answer
from bridge.kfp_api.guard import Guard
from bridge.kfp_api.http import Exchange, Request, check_base_url
from bridge.kfp_api.retry import RetryPolicy, Sleep, retry_safe


class Connection:
    """What ``KfpClient`` makes its calls with; its arguments are described there."""

    def __init__(
        self,
        base_url: str,
        *,
        token: Bearer | None = None,
        timeout_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str | ssl.SSLContext | None = None,
        retry: RetryPolicy | None = None,
        sleep: Sleep = asyncio.sleep,
        guard: Guard | None = None,
    ) -> None:
        self._exchange = Exchange(
            base_url,
            token=token,
            timeout_seconds=timeout_seconds,
            transport=transport,
            headers={"Accept": "application/json", **(headers or {})},
            ca=ca,
            guard=guard,
        )
        self._retry = retry or RetryPolicy()
        self._sleep = sleep

    @property
    def guard(self) -> Guard | None:
        """What spares the server, if anything does."""
        return self._exchange.guard

    @property
    def base_url(self) -> str:
        """The checked base URL, without a trailing slash."""
        return self._exchange.base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._exchange.aclose()

    async def grpc_web(self, method: str, payload: bytes, *, base_url: str | None = None) -> bytes:
        """The answer to a unary call that only reads, e.g. ``ml_metadata.MetadataStoreService/GetContexts``.

        ``base_url`` names the host if it is not this client's own.
        """
        request = Request(
            method="POST",
            path=f"/{method}",
            content=grpcweb.encode_message(payload),
            headers={
                "Content-Type": grpcweb.CONTENT_TYPE,
                "Accept": grpcweb.CONTENT_TYPE,
                "X-Grpc-Web": "1",
            },
            url=f"{check_base_url(base_url)}/{method}" if base_url else None,
        )

        async def call() -> bytes:
            return grpc_payload(await self._exchange.send(request))

        return await retry_safe(call, self._retry, self._sleep)

    async def fetch(
        self,
        kind: type[MessageT],
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        repeat: bool = True,
    ) -> MessageT:
        """The message at a path of the server; asked for again after trouble that passes if ``repeat``."""
        request = Request(method="GET", path=path, params=params or {})

        async def call() -> MessageT:
            return parse_answer(kind, await self._exchange.send(request))

        return await retry_safe(call, self._retry, self._sleep) if repeat else await call()

    async def _get_json(self, path: str) -> dict[str, Any]:
        request = Request(method="GET", path=path)

        async def call() -> dict[str, Any]:
            return json_object(await self._exchange.send(request))

        return await retry_safe(call, self._retry, self._sleep)

    async def _change(self, method: str, path: str, body: Any = None) -> Answer:
        request = Request(method=method, path=path, json=body)
        return await self._send_change(request)

    async def _upload(self, path: str, text: str, params: Mapping[str, str]) -> Answer:
        files = {"uploadfile": ("pipeline.yaml", text.encode("utf-8"), "application/yaml")}
        return await self._send_change(Request(method="POST", path=path, params=params, files=files))

    async def _send_change(self, request: Request) -> Answer:
        async def call() -> Answer:
            return await self._exchange.send(request)

        return await retry_safe(
            call, self._retry, self._sleep, worth=lambda error: error.retryable and not error.ambiguous
        )
