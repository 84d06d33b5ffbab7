"""What the workers have in common that claim runs of one backend for one duty and work on each."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import ClassVar

from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.kfp_api.errors import KfpError
from bridge.lineage import leases, quarantine
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DatabaseUnavailable, FencedOut
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.wakeups import Bell
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.pool import Pool
from bridge.service.workers.suspects import Suspects, cannot_be_read

log = logging.getLogger(__name__)


class ClaimWorker(ABC):
    """Claims what is due of one backend and works on it; ``step`` is one round, ``run`` goes on for ever."""

    name: ClassVar[str]
    """The worker's word in log lines."""
    duty: ClassVar[Duty]
    phases: ClassVar[Collection[RunPhase]] = ()
    """Only runs in these phases; empty: in any."""
    least_room: ClassVar[int] = 1
    """How many more must fit before more are claimed, while others are under way."""

    def __init__(self, context: Context, backend: Backend, bell: Bell, *, pool_size: int) -> None:
        self._context = context
        self._store = context.background
        self._backend = backend
        self._bell = bell
        self._pool = Pool(pool_size, bell)
        self._suspects = Suspects()
        self._held: dict[int, Claim] = {}

    async def run(self) -> None:
        """Claim and work until cancelled; jobs under way are then given time to come to their end."""
        try:
            while True:
                if not await self.step():
                    await self._bell.wait(self._context.settings.worker_poll_seconds)
        finally:
            # Half of the time there is, so that what has to be cancelled can be waited for too.
            await self._pool.close(self._context.settings.shutdown_seconds / 2)
            await self._give_back()

    async def step(self) -> int:
        """Claim what is due and there is room for; how many runs that were."""
        room = self._pool.free
        if room < min(self.least_room, self._pool.size):
            return 0
        claims = await self._store.transact(lambda s: self._claim_due(s, room))
        for claim in claims:
            self._held[id(claim)] = claim
            self._pool.start(self._attempt(claim), run_id=claim.run.run_id, worker=self.name)
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

    async def _attempt(self, claim: Claim) -> None:
        """Work on a claim; what goes wrong for a reason of its own is tried a few times, then set aside."""
        try:
            await self._work(claim)
        except asyncio.CancelledError:
            # Still held: it is given back when all have ended.
            raise
        except (FencedOut, DatabaseUnavailable):
            self._held.pop(id(claim))
            raise
        except KfpError as error:
            # The backend's trouble, and not the record's.
            self._held.pop(id(claim))
            self._context.note_error(self._backend, error)
            await self._try_again(claim)
        except Exception as error:
            self._held.pop(id(claim))
            log.exception("job failed", extra={"run_id": claim.run.run_id, "worker": self.name})
            await self._blame(claim, error)
        else:
            self._held.pop(id(claim))

    async def _give_back(self) -> None:
        """Let others take at once what was broken off."""
        broken_off, self._held = list(self._held.values()), {}
        if not broken_off:
            return

        def write(session: Session) -> None:
            for claim in broken_off:
                leases.release(session, claim, due_at=database_now(session), failures=claim.failures)

        try:
            await self._store.transact(write, repeatable=True)
        except DatabaseUnavailable as error:
            log.warning("claims not given back; they run out", extra={"error": str(error)})

    def _is_its_own(self, claim: Claim, error: Exception) -> bool:
        """Whether an answer that makes no sense is this run's trouble alone: others were read meanwhile."""
        return cannot_be_read(error) and self._suspects.alone(claim.run.run_id)

    def _worked(self, claim: Claim) -> None:
        self._suspects.worked(claim.run.run_id)

    async def _blame(self, claim: Claim, error: Exception) -> None:
        """Count a failure that is the record's own: try again, or set the work aside if it was too often."""
        run_id = claim.run.run_id
        failures = self._suspects.failed(run_id)
        if failures < self._context.settings.quarantine_after_failures:
            await self._try_again(claim)
            return
        reason = f"{type(error).__name__}: {error}"

        def write(session: Session) -> Run | None:
            quarantine.set_aside(
                session,
                backend=self._backend.name,
                project=claim.run.project,
                work=self.duty.value,
                subject=str(run_id),
                run_id=run_id,
                reason=reason,
                failures=failures,
            )
            changed = self._when_set_aside(session, claim)
            leases.release(session, claim, failures=claim.failures + 1)
            return changed

        changed = await self._store.transact(write, repeatable=True)
        if changed is not None:
            self._store.announce(changed)
        self._suspects.forget(run_id)
        log.error("work set aside", extra={"run_id": run_id, "worker": self.name, "reason": reason})

    async def _try_again(self, claim: Claim) -> None:
        await self._release(claim, backoff_seconds(claim.failures + 1), failures=claim.failures + 1)

    def _when_set_aside(self, session: Session, claim: Claim) -> Run | None:
        """What else has to be written when work is set aside; the run if it changed."""
        return None

    def _claimed_at(self, claim: Claim) -> datetime:
        """When the claim was made, by the database's clock."""
        return claim.lease_until - timedelta(seconds=self._context.settings.lease_seconds)

    async def _release(self, claim: Claim, seconds: float | None, failures: int = 0) -> None:
        """Give the claim back and look again in ``seconds``; ``None``: when something asks for it."""

        def write(session: Session) -> None:
            due = None if seconds is None else database_now(session) + timedelta(seconds=seconds)
            leases.release(session, claim, due_at=due, failures=failures)

        await self._store.transact(write, repeatable=True)
