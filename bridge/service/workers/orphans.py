"""Cancels runs whose waiter has not been heard of for too long (``orphan_after_seconds``)."""

from __future__ import annotations

import asyncio
import logging

from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage import leases, runs
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.wakeups import Bell
from bridge.service.workers.claiming import ClaimWorker

log = logging.getLogger(__name__)

_POOL_SIZE = 4


class OrphanWorker(ClaimWorker):
    """Asks for the end of one backend's runs that nobody waits for any more."""

    name = "orphans"
    duty = Duty.WAITER

    def __init__(self, context: Context, backend: Backend, after_seconds: float) -> None:
        super().__init__(context, backend, Bell(), pool_size=_POOL_SIZE)
        self._after_seconds = after_seconds

    async def run(self) -> None:
        """Claim and work until cancelled, but not before every waiter could tell this process of itself:
        while the bridge was away nobody could."""
        await asyncio.sleep(self._after_seconds)
        await super().run()

    async def _work(self, claim: Claim) -> None:
        def write(session: Session) -> Run | None:
            run = runs.get_run(session, claim.run.run_id)
            leases.release(session, claim)
            if run is None or run.phase.is_over or run.cancel_requested_at is not None:
                return None
            reason = f"nobody has waited for the run for {self._after_seconds:g} s (orphan_after_seconds)"
            return runs.request_cancel(session, run.run_id, at=database_now(session), reason=reason)

        canceled = await self._store.transact(write, repeatable=True)
        if canceled is not None:
            self._store.announce(canceled)
            self._context.ring_after([canceled])
            log.info("run has no waiter and is canceled", extra={"run_id": canceled.run_id})
