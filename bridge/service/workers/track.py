"""Follows the runs of one backend by two sweeps, however many are active.

Fast: what finished since the watermark, minus an overlap, because KFP writes Argo's whole seconds late
and out of order. Slow: what has not finished, which corrects whatever the fast one missed. A list is
dear to KFP, so a round asks for the newest ends alone and for as much else as the backend's budget allows,
and the pause after it is at least 20 times what it took.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import anyio
from sqlmodel import Session

from bridge.domain.decide import Missing, Observation, is_old_news
from bridge.domain.lineage import Run
from bridge.domain.states import RuntimeState
from bridge.kfp_api import messages
from bridge.kfp_api.errors import KfpError, KfpInvalid
from bridge.kfp_api.filters import Filter
from bridge.kfp_api.http import counting_seconds
from bridge.lineage import backends, leases, runs
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import LineageError
from bridge.lineage.records import BackendChanges
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.crash import crash_point
from bridge.service.workers.aside import LIST, SWEEP, RowsAside
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.budget import DUTY_FACTOR, FAST_FACTOR
from bridge.service.workers.found import FoundRuns
from bridge.service.workers.record import Recorded, lock_news, observation_of, record_all
from bridge.service.workers.sweep import PAGE_SIZE, NamespaceSweep

log = logging.getLogger(__name__)

_LEASE_FACTOR = 3.0
# What can wait may take this process so much of a tick: thousands of rows are read and compared in it.
_OWN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Pause:
    """The pause after a sweep: at least so long whatever happens, and at most so long."""

    least_seconds: float
    seconds: float


class TrackWorker:
    """Follows one backend, namespace by namespace."""

    def __init__(self, context: Context, backend: Backend) -> None:
        self._context = context
        self._store = context.background
        self._backend = backend
        self._found = FoundRuns(context, backend)
        self._aside = RowsAside(context, backend)
        self._sweeps = [NamespaceSweep(name, self) for name in backend.settings.namespaces]
        self._leads = False
        self._failures = 0
        self._slow_due = 0.0
        self._whole_slow = False
        self._spent = 0.0
        self._last_cost = 0.0

    async def run(self) -> None:
        """Sweep until cancelled."""
        bell = self._context.wakeups.track(self._backend.name)
        try:
            while True:
                pause = await self.step()
                # A ring asks for an early sweep, but never for more than the backend's share of time.
                await anyio.sleep(pause.least_seconds)
                await bell.wait(pause.seconds - pause.least_seconds)
        finally:
            await self._store.transact(
                lambda s: leases.drop_lease(s, self._lease_name, holder=self._context.holder)
            )

    def slow_next(self) -> None:
        """Make the next round a whole slow sweep, whatever it costs."""
        self._slow_due = 0.0
        self._whole_slow = True

    async def step(self) -> Pause:
        """One round over all namespaces; how long to pause after it."""
        settings, pace = self._backend.settings, self._backend.pace
        began = time.monotonic()
        opened = await self._open_round()
        self._backend.leads = opened is not None
        if opened is None:
            return Pause(settings.idle_tick_seconds, settings.idle_tick_seconds)
        now, busy = opened
        await self._aside.load()
        slow_ended = False
        self._spent = 0.0
        try:
            for sweep in self._sweeps:
                await sweep.newest(now)
            fast = self._spent
            slow_ended = await self._what_can_wait(now)
        except KfpError as error:
            return await self._failed(error)
        self._context.note_answer(self._backend)
        self._failures = 0
        passed = time.monotonic() - began
        least = max(settings.tick_seconds - passed, FAST_FACTOR * fast, DUTY_FACTOR * self._spent)
        # While a watch tells of ends the pause is longer; a ring, such as at the watch's end, cuts it short.
        usual = max(least, pace.tick_seconds - passed)
        pause = Pause(least, usual if busy else max(usual, settings.idle_tick_seconds))
        await self._remember_round(self._spent, max(pause.seconds, pace.tick_seconds), slow=slow_ended)
        return pause

    async def _what_can_wait(self, now: datetime) -> bool:
        """Older ends, what has not finished and look-ups, as far as the budget goes; whether a slow sweep
        came to its end with it."""
        if time.monotonic() >= self._slow_due:
            for sweep in self._sweeps:
                await sweep.begin_slow()
        was_slow = any(sweep.is_slow for sweep in self._sweeps)
        began, asked = time.monotonic(), 0
        pending = list(self._sweeps)
        while pending and (self._whole_slow or self._may_go_on(asked, time.monotonic() - began)):
            # Namespace by namespace, so that none of them waits for the others' passes.
            sweep = pending.pop(0)
            piece = sweep.next_piece()
            if piece is not None:
                await piece(now)
                pending.append(sweep)
                asked += 1
        slow_ended = was_slow and not any(sweep.is_slow for sweep in self._sweeps)
        if slow_ended:
            self._whole_slow = False
            self._slow_due = time.monotonic() + self._backend.pace.slow_sweep_seconds
        return slow_ended

    def _may_go_on(self, asked: int, passed: float) -> bool:
        """Whether one more piece fits into what the backend and this process can spare, of which this round
        ``asked`` some in ``passed`` seconds.

        A cheap one has to fit into the shortest pause as well, so that the next ends are not seen later for
        it; of dear ones there is one in a round.
        """
        tick = self._backend.pace.tick_seconds
        lengthens = DUTY_FACTOR * (self._spent + self._last_cost) > tick or passed > _OWN_SHARE * tick
        return not (asked and lengthens) and self._backend.budget.allows(self._last_cost)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """What is asked inside takes the backend's time."""
        with counting_seconds() as spent:
            try:
                yield
            finally:
                self._last_cost = spent.seconds
                self._spent += spent.seconds
                self._backend.budget.spend(spent.seconds)

    async def list_runs(
        self, namespace: str, where: Filter, token: str | None, sort_by: str | None = None
    ) -> messages.ListRuns:
        """See ``sweep.Asking``."""
        with self._counted():
            page = await self._backend.client.list_runs(
                namespace=namespace or None,
                filter=where,
                sort_by=sort_by,
                page_size=PAGE_SIZE,
                page_token=token,
                # Waits between repetitions are no time of the backend's; the next sweep is the repetition.
                repeat=False,
                details=False,
            )
        self._backend.list_seconds = self._last_cost
        await self.set_rows_aside(page.broken)
        return page

    async def get_run(self, kfp_run_id: UUID) -> messages.Run:
        """See ``sweep.Asking``."""
        with self._counted():
            return await self._backend.client.get_run(kfp_run_id, repeat=False)

    async def followed(self, namespace: str) -> tuple[set[UUID], datetime]:
        """See ``sweep.Asking``."""
        name = self._backend.name
        found, moment = await self._store.read(
            lambda s: (runs.unfinished_kfp_ids(s, name, namespace or None), database_now(s))
        )
        return {one for one in found if not self._aside.holds(SWEEP, str(one))}, moment

    async def blame(self, kfp_run_id: UUID, error: Exception) -> None:
        """See ``sweep.Asking``."""
        await self._aside.blame(SWEEP, str(kfp_run_id), error)

    async def observe(self, page: Sequence[messages.Run], namespace: str, asked_at: datetime) -> None:
        """See ``sweep.Asking``."""
        seen: dict[UUID, Observation | Missing] = {}
        told: dict[UUID, messages.Run] = {}
        for run in page:
            observation = observation_of(run, asked_at=asked_at)
            if observation is None:
                nameless = messages.BrokenRow(name=(run.run_id or "no id")[:200], error="run_id is no UUID")
                await self.set_rows_aside([nameless])
                continue
            if self._aside.holds(SWEEP, str(observation.kfp_run_id)):
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
        try:
            await self._take_in(seen, told, namespace)
        except (KfpError, LineageError):
            raise
        except Exception:
            # One of them cannot be taken in: each on its own, so that the others are.
            log.exception("page of runs cannot be recorded", extra={"backend": self._backend.name})
            await self._take_in_singly(seen, told, namespace)

    async def _take_in(
        self,
        seen: dict[UUID, Observation | Missing],
        told: Mapping[UUID, messages.Run],
        namespace: str,
    ) -> None:
        unknown = await self.record(seen)
        if unknown:
            await self._found.add([told[kfp_run_id] for kfp_run_id in unknown], namespace)
            await self.record({kfp_run_id: seen[kfp_run_id] for kfp_run_id in unknown})

    async def _take_in_singly(
        self,
        seen: dict[UUID, Observation | Missing],
        told: Mapping[UUID, messages.Run],
        namespace: str,
    ) -> None:
        for kfp_run_id, one in seen.items():
            try:
                await self._take_in({kfp_run_id: one}, told, namespace)
            except (KfpError, LineageError):
                raise
            except Exception as error:
                await self.blame(kfp_run_id, error)

    async def set_rows_aside(self, rows: Sequence[messages.BrokenRow]) -> None:
        """Count that rows of a list are no runs; after too many times such a row is set aside."""
        for row in rows:
            if not self._aside.holds(LIST, row.name):
                facts = {"backend": self._backend.name, "kfp_run_id": row.name, "error": row.error}
                log.warning("row of a list is no run", extra=facts)
                await self._aside.blame(LIST, row.name, ValueError(row.error))

    async def record(self, seen: dict[UUID, Observation | Missing]) -> list[UUID]:
        """See ``sweep.Asking``."""

        def write(session: Session) -> tuple[list[Recorded], list[UUID], list[Observation]]:
            policy = self._backend.policy
            stored = runs.get_by_kfp_id(session, self._backend.name, list(seen))
            told = [(run, seen[kfp_run_id]) for kfp_run_id, run in stored.items()]
            news = lock_news(session, told, database_now(session), policy)
            # Not the time before the locks were waited for: what was observed meanwhile is older.
            recorded = record_all(session, news, database_now(session), policy) if news else []
            stored |= {run.kfp_run_id: run for run, _ in news}
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

    def is_known_end(self, run: messages.Run) -> bool:
        """See ``sweep.Asking``."""
        seen = observation_of(run)
        if seen is None:
            return False
        return (seen.kfp_run_id, seen.finished_at, seen.state.value) in self._backend.seen_ends

    @property
    def _lease_name(self) -> str:
        return f"track:{self._backend.name}"

    async def _open_round(self) -> tuple[datetime, bool] | None:
        """The database's time and whether runs are followed, if this process is the one that follows the
        backend now; all a round has to know, in one transaction."""
        if self._store.database.dialect == "sqlite":
            # The whole database is this process's alone, so the backend is too.
            return await self._store.read(self._begin)
        settings = self._context.settings
        seconds = max(settings.lease_seconds, _LEASE_FACTOR * self._backend.settings.idle_tick_seconds)

        def lead(session: Session) -> tuple[datetime, bool] | None:
            held = leases.take_lease(
                session, self._lease_name, holder=self._context.holder, lease_seconds=seconds
            )
            if held is None:
                self._leads = False
                return None
            return self._begin(session)

        return await self._store.transact(lead)

    def _begin(self, session: Session) -> tuple[datetime, bool]:
        name = self._backend.name
        if not self._leads:
            # Another process may have got further than what is remembered here.
            for sweep in self._sweeps:
                sweep.watermark = backends.backend_state(session, name, sweep.namespace).watermark
            self._leads = True
        return database_now(session), runs.any_open(session, name)

    async def _failed(self, error: KfpError) -> Pause:
        self._failures += 1
        if isinstance(error, KfpInvalid):
            for sweep in self._sweeps:
                sweep.forget_passes()
        self._context.note_error(self._backend, error)
        await self._remember_trouble()
        pause = max(
            error.retry_after_seconds or 0.0,
            backoff_seconds(self._failures, first=self._backend.pace.tick_seconds, longest=30.0),
        )
        return Pause(pause, pause)

    async def _remember_round(self, took: float, pause: float, *, slow: bool) -> None:
        def write(session: Session) -> None:
            moment = database_now(session)
            told: BackendChanges = {
                "last_fast_sweep_at": moment,
                "last_sweep_seconds": took,
                "tick_seconds": pause,
                "stale_since": None,
                "last_error": None,
            }
            if slow:
                told["last_slow_sweep_at"] = moment
            for sweep in self._sweeps:
                told["watermark"] = sweep.watermark
                backends.change_backend_state(session, self._backend.name, sweep.namespace, **told)

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
