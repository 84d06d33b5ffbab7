"""The backends of a running service: client, metadata reader, and how it gets on with each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bridge.domain.decide import Policy
from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.metadata import MetadataReader
from bridge.kfp_api.mlmd import MlmdReader
from bridge.service.settings import BackendSettings

_REMEMBERED_ENDS = 20_000


class SeenEnds:
    """The ends that were already recorded, so that the overlap of two sweeps costs nothing; bounded."""

    def __init__(self, limit: int = _REMEMBERED_ENDS) -> None:
        self._limit = limit
        self._seen: OrderedDict[tuple[UUID, datetime | None, str], None] = OrderedDict()

    def __contains__(self, end: tuple[UUID, datetime | None, str]) -> bool:
        return end in self._seen

    def add(self, end: tuple[UUID, datetime | None, str]) -> None:
        """Remember an end; the oldest is forgotten beyond the limit."""
        self._seen[end] = None
        self._seen.move_to_end(end)
        while len(self._seen) > self._limit:
            self._seen.popitem(last=False)


@dataclass(slots=True)
class Backend:
    """One backend, with what this process remembers of it between two requests."""

    settings: BackendSettings
    client: KfpClient
    reader: MetadataReader
    policy: Policy
    stale_since: datetime | None = None
    last_error: str | None = None
    seen_ends: SeenEnds = field(default_factory=SeenEnds)
    experiments: dict[tuple[str, str], str] = field(default_factory=dict)
    upload_locks: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What submissions call it."""
        return self.settings.name

    @property
    def default_namespace(self) -> str:
        """Where a run goes that names no namespace; ``""`` is single-user KFP."""
        return self.settings.namespaces[0]


BackendFactory = Callable[[BackendSettings], Backend]


def open_backend(settings: BackendSettings) -> Backend:
    """A backend with a real client; ``Backend.client`` has to be closed by whoever opened it."""
    client = KfpClient(
        settings.url,
        token=_token(settings),
        timeout_seconds=settings.timeout_seconds,
        ca=str(settings.ca_file) if settings.ca_file else None,
    )
    return Backend(
        settings=settings,
        client=client,
        reader=MlmdReader(client, base_url=settings.metadata_url),
        policy=policy_of(settings),
    )


def policy_of(settings: BackendSettings) -> Policy:
    """What decisions about the backend's runs depend on."""
    return Policy(
        orphan_grace_seconds=settings.orphan_grace_seconds,
        agent_backoff_seconds=settings.agent_backoff_seconds,
        lookup_interval_seconds=settings.lookup_interval_seconds,
    )


def _token(settings: BackendSettings) -> TokenSource | None:
    if settings.token is not None:
        return TokenSource.from_value(settings.token.get_secret_value())
    return TokenSource.from_file(settings.token_file) if settings.token_file else None
