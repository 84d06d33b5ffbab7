"""Looks whether what URIs of artifacts name is there; nothing of it is kept, and no look takes long."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType

import anyio.to_thread
import httpx
from anyio import CapacityLimiter

from bridge.domain.lineage import ContentLook, ContentState
from bridge.domain.uris import local_path
from bridge.service.settings import ServiceSettings
from bridge.service.stores import NothingThere, Stores, StoreTrouble

# A look at a file that hangs (a network file system that is away) keeps its thread: no more than these.
_FILE_THREADS = 8
_MAX_ERROR_CHARS = 300


class Contents:
    """Looks at URIs on behalf of one process; used as an asynchronous context."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._seconds = settings.content_check_seconds
        self._http = httpx.AsyncClient(timeout=self._seconds, follow_redirects=False)
        self._threads = CapacityLimiter(_FILE_THREADS)
        self._hanging = 0
        self._stores = Stores(settings)

    async def __aenter__(self) -> Contents:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def look(self, uri: str) -> ContentLook:
        """What is there now; ``ServiceSettings.may_look`` has said yes."""
        try:
            async with asyncio.timeout(self._seconds):
                error = await self._look(uri)
        except TimeoutError:
            error = f"no answer within {self._seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failed:
            error = f"{type(failed).__name__}: {failed}"
        if error is None:
            return ContentLook(state=ContentState.AVAILABLE)
        return ContentLook(state=ContentState.UNAVAILABLE, error=error[:_MAX_ERROR_CHARS])

    async def _look(self, uri: str) -> str | None:
        path = local_path(uri)
        if path is not None:
            return await self._find(Path(path))
        if uri.partition("://")[0] in ("http", "https"):
            return await self._ask(uri)
        try:
            return None if await self._stores.is_there(uri) else "there is nothing"
        except (NothingThere, StoreTrouble) as error:
            return str(error)

    async def _ask(self, uri: str) -> str | None:
        # A GET of one byte: addresses that are signed for a GET refuse a HEAD.
        async with self._http.stream("GET", uri, headers={"Range": "bytes=0-0"}) as answer:
            empty = answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
            return None if answer.is_success or empty else f"HTTP {answer.status_code}"

    async def _find(self, path: Path) -> str | None:
        if self._hanging >= _FILE_THREADS:
            return "not looked at: too many looks at files hang"

        def find() -> bool:
            try:
                return path.exists()
            finally:
                self._hanging -= 1

        self._hanging += 1
        there = await anyio.to_thread.run_sync(find, abandon_on_cancel=True, limiter=self._threads)
        return None if there else "there is nothing"
