"""A proxy before a backend that counts the requests by kind; run as a process of its own by a bench."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_COUNTS = "/bench/counts"
_KEPT = ("content-type", "authorization", "x-grpc-web", "accept")


def create_app(target: str) -> FastAPI:
    """The proxy before the backend at ``target``; its counts are at ``/bench/counts``."""
    counts: Counter[str] = Counter()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=target, timeout=60) as http:
            app.state.http = http
            yield

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get(_COUNTS)
    async def read_counts() -> dict[str, int]:
        return dict(counts)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PATCH", "DELETE"])
    async def forward(path: str, request: Request) -> Response:
        counts[f"{request.method} /{_ID.sub('{id}', path)}"] += 1
        headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
        answer = await app.state.http.request(
            request.method,
            f"/{path}",
            params=request.query_params,
            content=await request.body(),
            headers=headers,
        )
        kind = answer.headers.get("content-type")
        return Response(answer.content, answer.status_code, headers={"content-type": kind} if kind else None)

    return app
