"""Copies tasks, artifacts and metrics of runs into the lineage: while they go on, and at their end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from sqlmodel import Session

from bridge.domain.lineage import Run, RunMirror
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpError, KfpNotFound
from bridge.lineage import leases, runs
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DatabaseUnavailable, FencedOut
from bridge.lineage.records import Claim, Duty
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.crash import crash_point
from bridge.service.grouping import Grouped
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.cause import read_log_tails
from bridge.service.workers.claiming import ClaimWorker
from bridge.service.workers.ending import End, end_of, write_ends
from bridge.service.workers.evidence import read_pods
from bridge.service.workers.keep import kept
from bridge.service.workers.progress import Look, Looked, write_looks
from bridge.service.workers.readings import TOGETHER, Readings
from bridge.service.workers.record import observation_of
from bridge.service.workers.settle import settle, unjudged
from bridge.service.workers.suspects import cannot_be_read

log = logging.getLogger(__name__)

# Claimed at a time, so that some are read while others are written; read alone at a time; and the largest
# mirror that shares a transaction with others.
_POOL_SIZE = 2 * TOGETHER
_READINGS = 8
_MOST_ROWS_TOGETHER = 500
_LONGEST_RETRY_SECONDS = 3600.0
# A run that ended this recently cannot have had its metadata collected: there never was any.
_TOO_YOUNG_TO_EXPIRE = timedelta(hours=1)


ItemT = TypeVar("ItemT", End, Look)
ResultT = TypeVar("ResultT", Run, Looked)


class MetadataNotThere(Exception):
    """The metadata of a run that succeeded is not there yet; it should come."""


class MirrorWorker(ClaimWorker):
    """Works off one backend's mirrors."""

    name = "mirror"
    duty = Duty.MIRROR
    least_room = _POOL_SIZE // 4

    def __init__(self, context: Context, backend: Backend) -> None:
        super().__init__(context, backend, context.wakeups.mirror(backend.name), pool_size=_POOL_SIZE)
        self._may_look = context.settings.may_look
        self._readings = Readings(backend)
        self._alone = asyncio.Semaphore(_READINGS)
        self._write_end = Grouped(self._write_ends, most=_POOL_SIZE)
        self._write_look = Grouped(self._write_looks, most=_POOL_SIZE)

    async def _work(self, claim: Claim) -> None:
        async with kept(self._store, claim, self._context.settings.lease_seconds):
            if claim.run.phase not in (RunPhase.ENDED, RunPhase.ACTIVE):
                await self._release(claim, None)
                return
            small = await self._readings.small_run(claim.run)
            if claim.run.phase is RunPhase.ENDED:
                with self._context.tracing.of_run("kfbridge.mirror", claim.run):
                    await self._work_ended(claim, small)
            else:
                async with self._room(small):
                    await self._work_active(claim, small)

    def _room(self, small: messages.Run | None) -> AbstractAsyncContextManager[object]:
        """No more large runs are in memory than are read at a time."""
        return self._alone if small is None else nullcontext()

    async def _work_active(self, claim: Claim, small: messages.Run | None) -> None:
        try:
            told = small or await self._backend.client.get_run(claim.run.kfp_run_id)
            reading = await self._readings.mirror(claim.run.kfp_run_id, told.task_details)
        except KfpError as error:
            await self._failed(claim, error)
            return
        look = Look(claim, observation_of(told, asked_at=self._claimed_at(claim)), reading)
        looked = await (self._write_look if look.rows <= _MOST_ROWS_TOGETHER else self._look_alone)(look)
        if isinstance(looked, Exception):
            raise looked
        self._worked(claim)

    async def _work_ended(self, claim: Claim, small: messages.Run | None) -> None:
        async with self._room(small):
            end = await self._read_end(claim, small)
            if end is None:
                return
            crash_point("mirror.before_store")
            # A large one waits for no company.
            settled = await self._end_alone(end) if end.rows > _MOST_ROWS_TOGETHER else None
        settled = settled or await self._write_end(end)
        crash_point("mirror.after_store")
        if isinstance(settled, Exception):
            raise settled
        self._worked(claim)
        if settled.settled_at is None:
            return
        self._context.tracing.followed(settled)
        log.info(
            "run settled",
            extra={
                "run_id": settled.run_id,
                "state": settled.state,
                "mirror": settled.mirror,
                "good": settled.is_good,
            },
        )

    async def _read_end(self, claim: Claim, small: messages.Run | None) -> End | None:
        run = claim.run
        try:
            told = small or await self._read_run(run)
            reading = await self._readings.mirror(run.kfp_run_id, told.task_details)
            state = MirrorState.COMPLETE if reading is not None else await self._why_nothing(run)
            tails = await self._tails(run, reading)
            seen = await read_pods(self._backend.cluster, run)
            look = reading is not None and any(
                self._may_look(one.uri, run.project) for one in reading.artifacts
            )
            return End(claim, reading, state, tails, seen, look)
        except (KfpError, MetadataNotThere) as error:
            await self._failed(claim, error)
            return None

    async def _end_alone(self, end: End) -> Run | Exception:
        return (await self._write_ends([end]))[0]

    async def _write_ends(self, ends: Sequence[End]) -> list[Run | Exception]:
        return await self._written(ends, write_ends, self._store.announce)

    async def _look_alone(self, look: Look) -> Looked | Exception:
        return (await self._write_looks([look]))[0]

    async def _write_looks(self, looks: Sequence[Look]) -> list[Looked | Exception]:
        def write(session: Session, together: Sequence[Look]) -> dict[UUID, Looked]:
            return write_looks(session, together, self._backend.policy)

        def tell(written: Sequence[Looked]) -> None:
            self._store.announce([looked.run for looked in written])
            changed = [run for looked in written for run in looked.changed]
            self._store.announce(changed)
            self._context.ring_after(changed)

        return await self._written(looks, write, tell)

    async def _written(
        self,
        items: Sequence[ItemT],
        write: Callable[[Session, Sequence[ItemT]], Mapping[UUID, ResultT]],
        tell: Callable[[list[ResultT]], None],
    ) -> list[ResultT | Exception]:
        """What was written of each, or why it could not be: one of many is no matter of the others."""
        try:
            written = await self._store.transact(lambda s: write(s, items), repeatable=True)
        except Exception as error:
            if len(items) == 1:
                return [error]
            if isinstance(error, DatabaseUnavailable):
                raise
            # Which of them it was shows when each is tried alone.
            log.info("mirrors are stored one by one", extra={"count": len(items)}, exc_info=True)
            return [(await self._written([item], write, tell))[0] for item in items]
        tell(list(written.values()))
        return [written.get(item.claim.run.run_id) or _fenced_out(item.claim) for item in items]

    async def _failed(self, claim: Claim, error: KfpError | MetadataNotThere) -> None:
        log.warning("mirror failed", extra={"run_id": claim.run.run_id, "error": str(error)})
        if cannot_be_read(error):
            known = self._is_its_own(claim, error)
            if known:
                await self._blame(claim, error)
                return
            self._suspects.suspect(claim.run.run_id)
        await self._try_again(claim)

    async def _try_again(self, claim: Claim) -> None:
        if claim.run.phase is RunPhase.ENDED:
            await self._give_callers_up(claim)
        else:
            await super()._try_again(claim)

    def _when_set_aside(self, session: Session, claim: Claim) -> Run | None:
        """Nobody waits for a mirror that does not come. What it failed of may be the gate's own numbers."""
        run = runs.get_run(session, claim.run.run_id)
        if run is None or run.phase is not RunPhase.ENDED or run.settled_at is not None:
            return None
        gate = unjudged(session, run)
        return runs.change_run(
            session,
            run.run_id,
            fence=claim.fence,
            event="run.settled",
            settled_at=database_now(session),
            gate=gate,
        )

    async def _read_run(self, run: Run) -> messages.Run:
        try:
            return await self._backend.client.get_run(run.kfp_run_id)
        except KfpNotFound:
            # Deleted after its end: what the metadata store still has is worth reading.
            return messages.Run(run_id=str(run.kfp_run_id))

    async def _why_nothing(self, run: Run) -> MirrorState:
        """What it means that the metadata store does not know the run."""
        ended_at = run.finished_at or run.observed_at or run.created_at
        age = await self._store.read(database_now) - ended_at
        if age >= _TOO_YOUNG_TO_EXPIRE:
            return MirrorState.EXPIRED
        if run.state is RuntimeState.SUCCEEDED:
            raise MetadataNotThere("the metadata store does not know this run (yet)")
        # It ended before its first task began.
        return MirrorState.COMPLETE

    async def _tails(self, run: Run, reading: RunMirror | None) -> dict[str, tuple[str, ...]]:
        if run.state is not RuntimeState.FAILED or reading is None:
            return {}
        return await read_log_tails(self._backend.client, run, reading.tasks)

    async def _give_callers_up(self, claim: Claim) -> None:
        """Try again later; once patience is over, callers are told that the run ended all the same."""
        run = claim.run
        patience = timedelta(seconds=self._context.settings.mirror_patience_seconds)

        def write(session: Session) -> Run | None:
            moment = database_now(session)
            stored = runs.get_run(session, run.run_id) or run
            if end_of(stored) != end_of(run):
                leases.release(session, claim, due_at=moment)
                return None
            pause = backoff_seconds(claim.failures + 1, longest=_LONGEST_RETRY_SECONDS)
            changed = None
            waited = moment - (run.observed_at or moment)
            if stored.settled_at is None and waited >= patience:
                changed = settle(
                    session, stored, mirror=stored.mirror, error=stored.error, now=moment, fence=claim.fence
                )
            elif stored.settled_at is None:
                pause = min(pause, max(0.1, (patience - waited).total_seconds()))
            due = moment + timedelta(seconds=pause)
            leases.release(session, claim, due_at=due, failures=claim.failures + 1)
            return changed

        changed = await self._store.transact(write, repeatable=True)
        if changed is not None:
            self._store.announce(changed)


def _fenced_out(claim: Claim) -> FencedOut:
    return FencedOut(claim.run.run_id, claim.fence.duty.value, claim.fence.number)
