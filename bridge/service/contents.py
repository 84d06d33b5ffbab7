"""Looks whether what URIs of artifacts name is there; nothing of it is kept, and no look takes long."""

from __future__ import annotations

from types import TracebackType

import httpx

from bridge.domain.lineage import ContentLook, ContentState
from bridge.lineage.contents import NOTHING
from bridge.service.outgoing import AddressRefused, Outgoing
from bridge.service.settings import ServiceSettings
from bridge.service.stores import NothingThere, Stores, StoreTrouble

_MAX_ERROR_CHARS = 300
# A GET of one byte: addresses that are signed for a GET refuse a HEAD.
_FIRST_BYTE = {"Range": "bytes=0-0"}


class Contents:
    """Looks at URIs on behalf of one process; used as an asynchronous context."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        # Which hosts are asked is said by name: their networks are meant.
        self._outgoing = Outgoing(
            timeout_seconds=settings.content_check_seconds, private=True, allowed_by="content_hosts"
        )
        looking = {"content_read_seconds": settings.content_check_seconds}
        self._stores = Stores(settings.model_copy(update=looking))

    async def __aenter__(self) -> Contents:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._outgoing.__aexit__()

    async def look(self, uri: str, project: str = "") -> ContentLook | None:
        """What is there now, of an artifact of the project; ``None`` where the settings do not let the
        bridge look."""
        try:
            # In a thread, since the links of a file system that is away are followed in it.
            if not await self._stores.ask(uri, lambda: self._settings.may_look(uri, project)):
                return None
            error = await self._look(uri, project)
        except (NothingThere, StoreTrouble, AddressRefused) as refused:
            error = str(refused)
        except TimeoutError:
            error = f"no answer within {self._settings.content_check_seconds:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as failed:
            error = f"{type(failed).__name__}: {failed}"
        if error is None:
            return ContentLook(state=ContentState.AVAILABLE)
        return ContentLook(state=ContentState.UNAVAILABLE, error=error[:_MAX_ERROR_CHARS])

    async def _look(self, uri: str, project: str) -> str | None:
        if uri.partition("://")[0] not in ("http", "https"):
            return None if await self._stores.is_there(uri, project) else NOTHING
        status = (await self._outgoing.get(uri, _FIRST_BYTE)).status
        empty = status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE
        return None if httpx.codes.is_success(status) or empty else f"HTTP {status}"
