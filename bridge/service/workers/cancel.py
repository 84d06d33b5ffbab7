"""Stops runs at their backend: those whose end was asked for, and abandoned attempts that showed up."""

from __future__ import annotations

import logging
from datetime import timedelta

from sqlmodel import Session

from bridge.domain.decide import Missing, Observation, Terminate, decide
from bridge.domain.states import RunPhase
from bridge.kfp_api.errors import KfpAuthError, KfpError, KfpInvalid, KfpNotFound
from bridge.lineage import leases, runs
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.keep import claimed_at
from bridge.service.workers.pool import Pool
from bridge.service.workers.record import Recorded, observation_of, record

log = logging.getLogger(__name__)

_PHASES = (RunPhase.ACTIVE, RunPhase.ABANDONED)
_POOL_SIZE = 4
# A run that is asked to end should; if it has not by then, it is asked again.
_ASK_AGAIN_SECONDS = 30.0


class CancelWorker:
    """Works off one backend's wishes to stop a run."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._bell = context.wakeups.cancel(backend.name)
        self._pool = Pool(_POOL_SIZE, self._bell)

    async def run(self) -> None:
        """Claim and work until cancelled."""
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
        claims = await self._store.transact(
            lambda s: leases.claim(
                s,
                worker=self._context.holder,
                duty=Duty.FOLLOW,
                phases=_PHASES,
                backend=self._backend.name,
                limit=room,
                lease_seconds=self._context.settings.lease_seconds,
            )
        )
        for claim in claims:
            self._pool.start(self._work(claim), run_id=claim.run.run_id, worker="cancel")
        return len(claims)

    async def drain(self) -> None:
        """Wait until every claimed run was worked on."""
        await self._pool.drain()

    async def _work(self, claim: Claim) -> None:
        try:
            again = await self._stop(claim)
        except (KfpAuthError, KfpInvalid) as error:
            # KFP says 400 when the run is no longer in a state it can be stopped from: look at it.
            log.info("terminate refused", extra={"run_id": claim.run.run_id, "error": str(error)})
            again = await self._look(claim)
        except KfpNotFound:
            await self._record(claim, Missing())
            again = None
        except KfpError as error:
            self._context.note_error(self._backend, error)
            pause = max(error.retry_after_seconds or 0.0, backoff_seconds(claim.failures + 1))
            await self._release(claim, pause, failures=claim.failures + 1)
            return
        await self._release(claim, again)

    async def _stop(self, claim: Claim) -> float | None:
        """Ask the backend to end the run; when to come back, ``None`` for never."""
        run = claim.run
        if run.phase is RunPhase.ACTIVE:
            action = decide(run, None, claim.lease_until, self._backend.policy)
            if not isinstance(action, Terminate):
                return await self._look(claim) if run.cancel_requested_at else None
        await self._backend.client.terminate_run(run.kfp_run_id)
        self._context.note_answer(self._backend)
        log.info("run asked to end", extra={"run_id": run.run_id, "kfp_run_id": run.kfp_run_id})
        again = await self._look(claim)
        self._context.wakeups.track(self._backend.name).ring()
        return again

    async def _look(self, claim: Claim) -> float | None:
        """Record how the run is now; when to come back."""
        try:
            told = await self._backend.client.get_run(claim.run.kfp_run_id)
        except KfpNotFound:
            await self._record(claim, Missing())
            return None
        except KfpError as error:
            self._context.note_error(self._backend, error)
            return _ASK_AGAIN_SECONDS
        seen = observation_of(told, asked_at=claimed_at(claim, self._context.settings.lease_seconds))
        if seen is None:
            return _ASK_AGAIN_SECONDS
        await self._record(claim, seen)
        return None if seen.state.is_terminal else _ASK_AGAIN_SECONDS

    async def _record(self, claim: Claim, seen: Observation | Missing) -> Recorded:
        def write(session: Session) -> Recorded:
            stored = runs.get_run(session, claim.run.run_id) or claim.run
            return record(
                session, stored, seen, database_now(session), self._backend.policy, fence=claim.fence
            )

        recorded = await self._store.transact(write)
        self._store.announce(recorded.changed)
        for run in recorded.changed:
            if run.phase.is_over:
                self._context.ring_after([run])
        return recorded

    async def _release(self, claim: Claim, seconds: float | None, failures: int = 0) -> None:
        def write(session: Session) -> None:
            due = None if seconds is None else database_now(session) + timedelta(seconds=seconds)
            leases.release(session, claim, due_at=due, failures=failures)

        await self._store.transact(write, repeatable=True)
