"""Stops runs at their backend: those whose end was asked for, and abandoned attempts that showed up."""

from __future__ import annotations

import logging

from sqlmodel import Session

from bridge.domain.decide import Missing, Observation, Terminate, decide
from bridge.domain.states import RunPhase
from bridge.kfp_api.errors import KfpAuthError, KfpError, KfpInvalid, KfpNotFound
from bridge.lineage import runs
from bridge.lineage.database import now as database_now
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.record import Recorded, observation_of, record

log = logging.getLogger(__name__)

_POOL_SIZE = 4
# A run that is asked to end should; if it has not by then, it is asked again.
_ASK_AGAIN_SECONDS = 30.0


class CancelWorker(ClaimWorker):
    """Works off one backend's wishes to stop a run."""

    name = "cancel"
    duty = Duty.FOLLOW
    phases = (RunPhase.ACTIVE, RunPhase.ABANDONED)

    def __init__(self, context: Context, backend: Backend) -> None:
        super().__init__(context, backend, context.wakeups.cancel(backend.name), pool_size=_POOL_SIZE)

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
        seen = observation_of(told, asked_at=self._claimed_at(claim))
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
