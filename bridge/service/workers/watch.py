"""Asks the metadata store what changed over all runs, so that mirrors of active runs cost what changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from uuid import UUID

from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.kfp_api.errors import KfpError
from bridge.kfp_api.http import counting_seconds
from bridge.lineage import backends, runs
from bridge.lineage.database import now as database_now
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.budget import WATCH_FACTOR

log = logging.getLogger(__name__)

# A store that cannot say what changed is read run by run, and that much more seldom.
_BLIND_FACTOR = 10
_START_OVERLAP_MS = 60_000


class MetadataWatch:
    """Makes the mirrors of one backend's active runs due when their metadata changed."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._failures = 0

    async def run(self) -> None:
        """Ask until cancelled, while there are active runs."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = await self.step()

    async def step(self) -> float:
        """One question; how many seconds to wait before the next."""
        interval = self._context.settings.mirror_interval_seconds
        since = await self._since()
        if since is None:
            return interval
        try:
            with counting_seconds() as spent:
                changes = await self._backend.reader.changed_since(since)
        except KfpError as error:
            self._failures += 1
            log.warning("metadata watch failed", extra={"backend": self._backend.name, "error": str(error)})
            pause = backoff_seconds(self._failures, first=interval, longest=60.0)
            return max(pause, error.retry_after_seconds or 0.0)
        finally:
            self._backend.budget.spend(spent.seconds)
        self._failures = 0
        pause = max(interval, WATCH_FACTOR * spent.seconds)
        if changes is None:
            name = self._backend.name
            await self._make_due(await self._store.read(lambda s: runs.unfinished_kfp_ids(s, name)))
            return pause * _BLIND_FACTOR
        await self._make_due(changes.kfp_run_ids)
        if changes.newest_ms > since:
            # What changed within that same millisecond is read at the run's end at the latest.
            await self._remember(changes.newest_ms + 1)
        return pause

    async def _since(self) -> int | None:
        """The watermark; ``None`` while nothing is followed, so that there is nothing to ask."""

        def read(session: Session) -> int | None:
            if not runs.any_open(session, self._backend.name):
                return None
            known = backends.backend_state(session, self._backend.name).metadata_watermark_ms
            return (
                known
                if known is not None
                else int(database_now(session).timestamp() * 1000) - _START_OVERLAP_MS
            )

        return await self._store.read(read)

    async def _remember(self, watermark_ms: int) -> None:
        name = self._backend.name
        await self._store.transact(
            lambda s: backends.change_backend_state(s, name, metadata_watermark_ms=watermark_ms),
            repeatable=True,
        )

    async def _make_due(self, kfp_run_ids: Iterable[UUID]) -> None:
        wanted = list(kfp_run_ids)
        if not wanted:
            return

        def write(session: Session) -> list[Run]:
            stored = runs.get_by_kfp_id(session, self._backend.name, wanted)
            moment = database_now(session)
            return [
                runs.change_run(session, run.run_id, mirror_due_at=moment)
                for run in stored.values()
                if run.phase is RunPhase.ACTIVE
            ]

        if await self._store.transact(write, repeatable=True):
            self._context.wakeups.mirror(self._backend.name).ring()
