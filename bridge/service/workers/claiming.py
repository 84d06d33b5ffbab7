"""What the workers have in common that claim runs of one backend for one duty and work on each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import ClassVar

from sqlmodel import Session

from bridge.domain.states import RunPhase
from bridge.lineage import leases
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.wakeups import Bell
from bridge.service.workers.pool import Pool


class ClaimWorker(ABC):
    """Claims what is due of one backend and works on it; ``step`` is one round, ``run`` goes on for ever."""

    name: ClassVar[str]
    """The worker's word in log lines."""
    duty: ClassVar[Duty]
    phases: ClassVar[Collection[RunPhase]] = ()
    """Only runs in these phases; empty: in any."""

    def __init__(self, context: Context, backend: Backend, bell: Bell, *, pool_size: int) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._bell = bell
        self._pool = Pool(pool_size, bell)

    async def run(self) -> None:
        """Claim and work until cancelled; jobs under way are then given time to come to their end."""
        try:
            while True:
                if not await self.step():
                    await self._bell.wait(self._context.settings.worker_poll_seconds)
        finally:
            # Half of the time there is, so that what has to be cancelled can be waited for too.
            await self._pool.close(self._context.settings.shutdown_seconds / 2)

    async def step(self) -> int:
        """Claim what is due and there is room for; how many runs that were."""
        room = self._pool.free
        if room <= 0:
            return 0
        claims = await self._store.transact(lambda s: self._claim_due(s, room))
        for claim in claims:
            self._pool.start(self._work(claim), run_id=claim.run.run_id, worker=self.name)
        return len(claims)

    def _claim_due(self, session: Session, room: int) -> list[Claim]:
        return leases.claim(
            session,
            worker=self._context.holder,
            duty=self.duty,
            phases=self.phases,
            backend=self._backend.name,
            limit=room,
            lease_seconds=self._context.settings.lease_seconds,
        )

    async def drain(self) -> None:
        """Wait until every claimed run was worked on."""
        await self._pool.drain()

    @abstractmethod
    async def _work(self, claim: Claim) -> None:
        """Do the duty for one run and give the claim back."""

    def _claimed_at(self, claim: Claim) -> datetime:
        """When the claim was made, by the database's clock."""
        return claim.lease_until - timedelta(seconds=self._context.settings.lease_seconds)

    async def _release(self, claim: Claim, seconds: float | None, failures: int = 0) -> None:
        """Give the claim back and look again in ``seconds``; ``None``: when something asks for it."""

        def write(session: Session) -> None:
            due = None if seconds is None else database_now(session) + timedelta(seconds=seconds)
            leases.release(session, claim, due_at=due, failures=failures)

        await self._store.transact(write, repeatable=True)
