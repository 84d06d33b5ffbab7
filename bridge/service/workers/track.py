"""Follows the runs of one backend by two sweeps, however many are active.

Fast: what finished since the watermark, minus an overlap, because KFP writes Argo's whole seconds late
and out of order. Slow: what has not finished, which corrects whatever the fast one missed. A list is
dear to KFP, so the pause between two sweeps is at least 20 times what the last one took.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlmodel import Session

from bridge.domain.decide import Missing, Observation, is_old_news
from bridge.domain.lineage import Run
from bridge.domain.states import RuntimeState
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpError, KfpNotFound
from bridge.kfp_api.filters import Filter, finished_since, unfinished
from bridge.lineage import backends, leases, runs
from bridge.lineage.database import now as database_now
from bridge.lineage.records import BackendState
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.crash import crash_point
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.found import FoundRuns
from bridge.service.workers.record import Recorded, observation_of, record

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=600)
# The share of a backend's time that sweeps may take is one part in this many.
DUTY_FACTOR = 20.0
_PAGE_SIZE = 200
_MAX_PAGES = 500
# Every so many fast sweeps the whole overlap is read, and not only down to what is known.
_FULL_OVERLAP_EVERY = 15
_LOOKUPS_PER_SWEEP = 20
_LEASE_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause after a sweep: at least so long whatever happens, and at most so long."""

    least_seconds: float
    seconds: float


class TrackWorker:
    """Follows one backend, namespace by namespace."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._found = FoundRuns(context, backend)
        self._rounds = 0
        self._failures = 0
        self._slow_due = 0.0
        self._backend_seconds = 0.0

    async def run(self) -> None:
        """Sweep until cancelled."""
        bell = self._context.wakeups.track(self._backend.name)
        try:
            while True:
                pause = await self.step()
                # A ring asks for an early sweep, but never for more than the backend's share of time.
                await asyncio.sleep(pause.least_seconds)
                await bell.wait(pause.seconds - pause.least_seconds)
        finally:
            await self._store.transact(
                lambda s: leases.drop_lease(s, self._lease_name, holder=self._context.holder)
            )

    def slow_next(self) -> None:
        """Make the next round a slow one."""
        self._slow_due = 0.0

    async def step(self) -> Pause:
        """One round over all namespaces; how long to pause after it."""
        settings = self._backend.settings
        if not await self._lead():
            return Pause(settings.idle_tick_seconds, settings.idle_tick_seconds)
        slow = time.monotonic() >= self._slow_due
        self._backend_seconds = 0.0
        try:
            for namespace in settings.namespaces:
                await self._sweep(namespace, slow=slow)
        except KfpError as error:
            return await self._failed(error)
        self._context.note_answer(self._backend)
        self._failures = 0
        self._rounds += 1
        took = self._backend_seconds
        least = max(settings.tick_seconds, DUTY_FACTOR * took)
        pause = Pause(least, least if await self._busy() else max(least, settings.idle_tick_seconds))
        if slow:
            self._slow_due = time.monotonic() + max(settings.slow_sweep_seconds, DUTY_FACTOR * took)
        await self._remember_round(took, pause.seconds, slow=slow)
        return pause

    async def _sweep(self, namespace: str, *, slow: bool) -> None:
        state = await self._store.read(lambda s: backends.backend_state(s, self._backend.name, namespace))
        await self._fast(namespace, state)
        if slow:
            await self._slow(namespace)

    async def _fast(self, namespace: str, state: BackendState) -> None:
        began: datetime = await self._store.read(database_now)
        watermark = state.watermark or began
        full = self._rounds % _FULL_OVERLAP_EVERY == 0
        newest = watermark
        token: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._list(
                namespace, finished_since(watermark - OVERLAP), token, sort_by="finished_at desc"
            )
            fresh = [run for run in page.runs if not self._is_known_end(run)]
            await self._observe(fresh, namespace, began)
            newest = max([newest, *(ended for run in page.runs if (ended := run.ended_at))])
            token = page.next_page_token
            if not token or (not fresh and not full):
                break
        if newest != state.watermark:
            name = self._backend.name
            await self._store.transact(
                lambda s: backends.change_backend_state(s, name, namespace, watermark=newest), repeatable=True
            )

    async def _slow(self, namespace: str) -> None:
        alive: set[UUID] = set()
        token: str | None = None
        # Read before the sweep: a run submitted while it goes on must not look lost.
        expected, began = await self._store.read(
            lambda s: (
                runs.unfinished_kfp_ids(s, self._backend.name, namespace or None),
                database_now(s),
            )
        )
        for _ in range(_MAX_PAGES):
            page = await self._list(namespace, unfinished(), token)
            await self._observe(page.runs, namespace, began)
            alive |= {seen.kfp_run_id for run in page.runs if (seen := observation_of(run))}
            token = page.next_page_token
            if not token:
                break
        await self._look_up_absent(sorted(expected - alive), began)

    async def _list(
        self, namespace: str, where: Filter, token: str | None, *, sort_by: str | None = None
    ) -> messages.ListRuns:
        """One page of runs; what it costs the backend is counted."""
        began = time.monotonic()
        try:
            return await self._backend.client.list_runs(
                namespace=namespace or None,
                filter=where,
                sort_by=sort_by,
                page_size=_PAGE_SIZE,
                page_token=token,
                # Waits between repetitions are no time of the backend's; the next sweep is the repetition.
                repeat=False,
            )
        finally:
            self._backend_seconds += time.monotonic() - began

    async def _look_up_absent(self, kfp_run_ids: Sequence[UUID], asked_at: datetime) -> None:
        """Runs we follow that the backend did not list as unfinished: they ended, or are gone."""
        for kfp_run_id in kfp_run_ids[:_LOOKUPS_PER_SWEEP]:
            try:
                told = await self._backend.client.get_run(kfp_run_id)
            except KfpNotFound:
                await self._record({kfp_run_id: Missing()})
                continue
            found = observation_of(told, asked_at=asked_at)
            if found is not None:
                await self._record({kfp_run_id: found})

    async def _observe(self, page: Sequence[messages.Run], namespace: str, asked_at: datetime) -> None:
        seen: dict[UUID, Observation | Missing] = {}
        told: dict[UUID, messages.Run] = {}
        for run in page:
            observation = observation_of(run, asked_at=asked_at)
            if observation is None:
                log.warning(
                    "run without a usable id", extra={"backend": self._backend.name, "id": run.run_id}
                )
                continue
            if observation.state is RuntimeState.UNKNOWN:
                log.warning(
                    "unknown state",
                    extra={"kfp_run_id": observation.kfp_run_id, "state": observation.state_word},
                )
            seen[observation.kfp_run_id] = observation
            told[observation.kfp_run_id] = run
        if not seen:
            return
        unknown = await self._record(seen)
        if unknown:
            await self._found.add([told[kfp_run_id] for kfp_run_id in unknown], namespace)
            await self._record({kfp_run_id: seen[kfp_run_id] for kfp_run_id in unknown})

    async def _record(self, seen: dict[UUID, Observation | Missing]) -> list[UUID]:
        """Write what the observations mean; the ids nobody knows are given back."""

        def write(session: Session) -> tuple[list[Recorded], list[UUID], list[Observation]]:
            stored = runs.get_by_kfp_id(session, self._backend.name, list(seen))
            moment = database_now(session)
            recorded = [
                record(session, run, seen[kfp_run_id], moment, self._backend.policy)
                for kfp_run_id, run in stored.items()
            ]
            unknown = [kfp_run_id for kfp_run_id in seen if kfp_run_id not in stored]
            return recorded, unknown, [end for end in _ends(seen) if _is_taken(stored, end)]

        crash_point("track.before_record")
        recorded, unknown, ends = await self._store.transact(write, repeatable=True)
        crash_point("track.after_record")
        for end in ends:
            self._backend.seen_ends.add((end.kfp_run_id, end.finished_at, end.state.value))
        changed = [run for item in recorded for run in item.changed]
        self._announce(changed)
        return unknown

    def _announce(self, changed: Sequence[Run]) -> None:
        if changed:
            self._store.announce(changed)
            self._context.ring_after(changed)
            for run in changed:
                log.info(
                    "run changed",
                    extra={
                        "run_id": run.run_id,
                        "kfp_run_id": run.kfp_run_id,
                        "phase": run.phase,
                        "state": run.state,
                    },
                )

    def _is_known_end(self, run: messages.Run) -> bool:
        seen = observation_of(run)
        if seen is None:
            return False
        return (seen.kfp_run_id, seen.finished_at, seen.state.value) in self._backend.seen_ends

    @property
    def _lease_name(self) -> str:
        return f"track:{self._backend.name}"

    async def _lead(self) -> bool:
        """Whether this process is the one that follows the backend now."""
        if self._store.database.dialect == "sqlite":
            # The whole database is this process's alone, so the backend is too.
            return True
        settings = self._context.settings
        seconds = max(settings.lease_seconds, _LEASE_FACTOR * self._backend.settings.idle_tick_seconds)
        lease = await self._store.transact(
            lambda s: leases.take_lease(
                s, self._lease_name, holder=self._context.holder, lease_seconds=seconds
            )
        )
        return lease is not None

    async def _busy(self) -> bool:
        counts = await self._store.read(lambda s: runs.count_by_phase(s, self._backend.name))
        return sum(counts.values()) > 0

    async def _failed(self, error: KfpError) -> Pause:
        self._failures += 1
        self._context.note_error(self._backend, error)
        await self._remember_trouble()
        pause = max(
            error.retry_after_seconds or 0.0,
            backoff_seconds(self._failures, first=self._backend.settings.tick_seconds, longest=30.0),
        )
        return Pause(pause, pause)

    async def _remember_round(self, took: float, pause: float, *, slow: bool) -> None:
        def write(session: Session) -> None:
            moment = database_now(session)
            for namespace in self._backend.settings.namespaces:
                backends.change_backend_state(
                    session,
                    self._backend.name,
                    namespace,
                    last_fast_sweep_at=moment,
                    last_sweep_seconds=took,
                    tick_seconds=pause,
                    stale_since=None,
                    last_error=None,
                )
                if slow:
                    backends.change_backend_state(
                        session, self._backend.name, namespace, last_slow_sweep_at=moment
                    )

        await self._store.transact(write, repeatable=True)

    async def _remember_trouble(self) -> None:
        since, told = self._backend.stale_since, self._backend.last_error

        def write(session: Session) -> None:
            for namespace in self._backend.settings.namespaces:
                backends.change_backend_state(
                    session, self._backend.name, namespace, stale_since=since, last_error=told
                )

        await self._store.transact(write, repeatable=True)


def _ends(seen: Mapping[UUID, Observation | Missing]) -> list[Observation]:
    return [one for one in seen.values() if isinstance(one, Observation) and one.state.is_terminal]


def _is_taken(stored: Mapping[UUID, Run], end: Observation) -> bool:
    """Whether the end was decided about; one passed over as old news has to be looked at again."""
    run = stored.get(end.kfp_run_id)
    return run is not None and not is_old_news(run, end)
