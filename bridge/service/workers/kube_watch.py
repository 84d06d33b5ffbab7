"""Turns what the cluster tells into questions to the backend, so that an end is known within a second.

A hint is never believed: the run is read from KFP's own API, again and again for a while if KFP's row
lags behind its Workflow. Whatever is missed here the sweeps find. Runs in the process that follows the
backend, and nowhere else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlmodel import Session

from bridge.domain.states import RuntimeState
from bridge.kfp_api.errors import KfpError
from bridge.kube.watch import Change
from bridge.lineage import backends, runs
from bridge.service.backends import Backend
from bridge.service.cluster import Cluster
from bridge.service.context import Context
from bridge.service.wakeups import Bell
from bridge.service.workers.look import look_at

log = logging.getLogger(__name__)

_IDLE_SECONDS = 1.0
_AT_A_TIME = 8
# Beyond so many at once one sweep is cheaper than as many questions.
_SWEEP_INSTEAD = 40
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 15.0
# KFP's agent reports an end up to 360 s late; what takes longer is the sweeps'.
_PATIENCE_SECONDS = 600.0
_SHORT_PATIENCE_SECONDS = 20.0
_REMEMBER_EVERY_SECONDS = 15.0
_STOP_SECONDS = 3.0
_MOST_HINTS = 100_000


@dataclass(slots=True)
class _Hint:
    """A run to ask about: what the cluster said of it, and how long that has been asked for."""

    change: Change
    since: float
    due: float
    tries: int = 0

    def is_met(self, state: RuntimeState) -> bool:
        """Whether the backend has caught up with the cluster."""
        if self.change.finished:
            return state.is_terminal
        if self.change.gone or self.change.phase != "Running":
            return True
        return state not in (RuntimeState.PENDING, RuntimeState.UNSPECIFIED)

    def later(self, now: float) -> bool:
        """Put it off; ``False`` if it has been asked for long enough."""
        pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self.tries, 10))
        self.tries += 1
        self.due = now + pause
        return self.due - self.since < (
            _PATIENCE_SECONDS if self.change.finished else _SHORT_PATIENCE_SECONDS
        )


class KubeWatch:
    """Watches one backend's cluster while this process follows the backend."""

    def __init__(self, context: Context, backend: Backend, cluster: Cluster) -> None:
        self._context = context
        self._backend = backend
        self._cluster = cluster
        self._news: deque[Change] = deque(maxlen=_MOST_HINTS)
        self._hints: dict[UUID, _Hint] = {}
        self._bell = Bell()
        self._was_healthy = False
        self._remembered_at = 0.0

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            while True:
                if not self._backend.leads:
                    await self._stop()
                    await asyncio.sleep(_IDLE_SECONDS)
                    continue
                self._start()
                await self._bell.wait(self._pause())
                await self.step()
        finally:
            await asyncio.shield(self._stop())

    async def step(self) -> None:
        """Take in what was told, and ask what is due."""
        await self._take_news()
        await self._ask_due()
        await self._note_health()

    def tell(self, changes: Sequence[Change]) -> None:
        """Hand in what changed; for the watches' threads and the loop's alike."""
        self._news.extend(changes)

    def _start(self) -> None:
        if self._cluster.watches:
            return
        loop = asyncio.get_running_loop()

        def tell(changes: Sequence[Change]) -> None:
            self.tell(changes)
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._bell.ring)

        self._cluster.start(tell)

    async def _stop(self) -> None:
        if self._cluster.watches and not await asyncio.to_thread(self._cluster.stop, _STOP_SECONDS):
            log.warning("a workflow watch did not end in time", extra={"backend": self._backend.name})

    def _pause(self) -> float:
        due = min((hint.due for hint in self._hints.values()), default=time.monotonic() + _IDLE_SECONDS)
        return min(_IDLE_SECONDS, max(0.0, due - time.monotonic()))

    async def _take_news(self) -> None:
        if not self._news:
            return
        news = [self._news.popleft() for _ in range(len(self._news))]
        followed: set[UUID] | None = None
        now = time.monotonic()
        for change in news:
            if change.listed:
                # A list tells of everything that is still there; only what is followed is asked about.
                if followed is None:
                    followed = await self._unfinished()
                if change.kfp_run_id not in followed or not (change.finished or change.gone):
                    continue
            known = self._hints.get(change.kfp_run_id)
            since = known.since if known and known.change.finished and change.finished else now
            self._hints[change.kfp_run_id] = _Hint(change, since, now)

    async def _unfinished(self) -> set[UUID]:
        return await self._context.store.read(lambda s: runs.unfinished_kfp_ids(s, self._backend.name))

    async def _ask_due(self) -> None:
        now = time.monotonic()
        due = [key for key, hint in self._hints.items() if hint.due <= now]
        if len(due) > _SWEEP_INSTEAD:
            await self._leave_to_sweep(due)
            return
        for start in range(0, len(due), _AT_A_TIME):
            await asyncio.gather(*(self._ask(key) for key in due[start : start + _AT_A_TIME]))

    async def _leave_to_sweep(self, due: Sequence[UUID]) -> None:
        """A flood: bring the next sweep forward, forget what one has seen the end of, put the others off."""
        self._context.wakeups.track(self._backend.name).ring()
        unfinished, now = await self._unfinished(), time.monotonic()
        for key in due:
            hint = self._hints[key]
            if (hint.tries and key not in unfinished) or not hint.later(now):
                del self._hints[key]

    async def _ask(self, kfp_run_id: UUID) -> None:
        hint = self._hints[kfp_run_id]
        try:
            state = await look_at(self._context, self._backend, kfp_run_id)
        except KfpError as error:
            log.info("a hinted run could not be read", extra={"kfp_run_id": kfp_run_id, "error": str(error)})
            state = RuntimeState.UNSPECIFIED
        now = time.monotonic()
        if self._hints.get(kfp_run_id) is not hint:
            # Something newer was told while the backend was asked.
            return
        if state is not None and hint.is_met(state):
            if hint.change.finished and not hint.change.listed:
                self._cluster.lag_seconds = now - hint.since
            del self._hints[kfp_run_id]
        elif not hint.later(now):
            del self._hints[kfp_run_id]

    async def _note_health(self) -> None:
        healthy, now = self._cluster.healthy, time.monotonic()
        changed = healthy is not self._was_healthy
        if changed and not healthy:
            # From here on the sweeps are all there is: the long pause under way ends now.
            self._context.wakeups.track(self._backend.name).ring()
        if not changed and now - self._remembered_at < _REMEMBER_EVERY_SECONDS:
            return
        self._was_healthy, self._remembered_at = healthy, now
        name, namespace = self._backend.name, self._backend.default_namespace
        told = self._cluster.facts()

        def write(session: Session) -> None:
            known = backends.backend_state(session, name, namespace).facts
            backends.change_backend_state(session, name, namespace, facts={**known, "watch": told})

        await self._context.store.transact(write, repeatable=True)
