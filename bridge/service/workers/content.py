"""Looks whether what the artifacts of ended runs name is there, and again while it is not.

A run's end never waits for it: URIs can refuse and hang.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from sqlmodel import Session

from bridge.domain.lineage import ContentLook, ContentState
from bridge.lineage import contents, leases
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.contents import Contents
from bridge.service.context import Context
from bridge.service.wakeups import Bell
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.keep import kept

_POOL_SIZE = 2
_LOOKS_AT_ONCE = 8
_MOST_ARTIFACTS = 500
_LONGEST_RETRY_SECONDS = 6 * 3600.0
# With an hour or more between the later ones: about three days.
_MOST_LOOKS = 20


class ContentWorker(ClaimWorker):
    """Works off one backend's runs whose artifacts were not seen to be there."""

    name = "content"
    duty = Duty.CONTENT

    def __init__(self, context: Context, backend: Backend) -> None:
        super().__init__(context, backend, Bell(), pool_size=_POOL_SIZE)
        self._contents = Contents(context.settings)

    async def run(self) -> None:
        """Claim and look until cancelled."""
        async with self._contents:
            await super().run()

    async def _work(self, claim: Claim) -> None:
        run_id = claim.run.run_id
        async with kept(self._store, claim, self._context.settings.lease_seconds):
            unseen = await self._store.read(lambda s: contents.unseen_contents(s, run_id, _MOST_ARTIFACTS))
            looks = await self._look(unseen, claim.run.project)
            looked = claim.failures + 1
            again = looked < _MOST_LOOKS and any(
                one.state is ContentState.UNAVAILABLE for one in looks.values()
            )
            first = self._context.settings.content_retry_seconds
            pause = timedelta(seconds=backoff_seconds(looked, first=first, longest=_LONGEST_RETRY_SECONDS))

            def write(session: Session) -> None:
                contents.record_looks(session, run_id, looks, fence=claim.fence)
                due = database_now(session) + pause if again else None
                leases.release(session, claim, due_at=due, failures=looked if again else 0)

            await self._store.transact(write, repeatable=True)

    async def _look(self, uris: Mapping[int, str], project: str) -> dict[int, ContentLook]:
        gate = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def look(uri: str) -> ContentLook | None:
            async with gate:
                return await self._contents.look(uri, project)

        found = await asyncio.gather(*(look(uri) for uri in uris.values()))
        return {key: one for key, one in zip(uris, found, strict=True) if one is not None}
