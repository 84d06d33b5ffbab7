"""What callers are told of the queue: why a run waits, and that no more can be taken on."""

from __future__ import annotations

import time
from collections.abc import Collection
from uuid import UUID

from sqlmodel import Session

from bridge.domain.fairness import Share
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.lineage import queue, switches
from bridge.lineage.records import Switch
from bridge.service.problems import ProblemError
from bridge.service.settings import ServiceSettings
from bridge.service.store import Store

# How long a count of the queue is good for, this process's own submissions being added to it.
_COUNT_HOLDS_SECONDS = 1.0
_RECOUNT_SECONDS = 0.1
_RETRY_SECONDS = 5.0


class QueueBounds:
    """Refuses submissions while the queue is full.

    The queue is counted once a second while submissions come, and before one is refused: with several
    processes it may hold more than its bound by what the others take on within that second.
    """

    def __init__(self, store: Store, settings: ServiceSettings) -> None:
        self._store = store
        self._settings = settings
        self._lengths: dict[str, int] = {}
        self._counted_at = float("-inf")

    async def check(self, project: str) -> None:
        """Raise ``ProblemError`` (``queue-full`` or ``overloaded``), which says when to come again."""
        if self._age >= _COUNT_HOLDS_SECONDS:
            await self._count()
        refusal = self._refusal(project)
        if refusal is not None and self._age >= _RECOUNT_SECONDS:
            # Runs that were counted as they came may have been sent since.
            await self._count()
            refusal = self._refusal(project)
        if refusal is not None:
            raise refusal

    @property
    def _age(self) -> float:
        return time.monotonic() - self._counted_at

    async def _count(self) -> None:
        self._counted_at = time.monotonic()
        self._lengths = await self._store.read(queue.lengths)

    def _refusal(self, project: str) -> ProblemError | None:
        mine, bound = self._lengths.get(project, 0), self._settings.max_queued_of(project)
        if mine >= bound:
            return ProblemError(
                "queue-full",
                f"{mine:,} runs of project {project} wait in the queue, which takes {bound:,}; nothing was "
                "recorded, send it again later",
                retry_after_seconds=_RETRY_SECONDS,
            )
        overall, bound = sum(self._lengths.values()), self._settings.max_queued_runs_overall
        if overall >= bound:
            return ProblemError(
                "overloaded",
                f"{overall:,} runs wait in the queue, which takes {bound:,}; nothing was recorded, send it "
                "again later",
                retry_after_seconds=_RETRY_SECONDS,
            )
        return None

    def accepted(self, project: str) -> None:
        """Count a submission that was recorded since."""
        self._lengths[project] = self._lengths.get(project, 0) + 1


async def waiting_reasons(store: Store, settings: ServiceSettings, found: Collection[Run]) -> dict[UUID, str]:
    """Why each of these runs was not sent yet, as far as that is the bridge's own doing."""
    held = [run for run in found if run.phase is RunPhase.QUEUED and run.cancel_requested_at is None]
    if not held:
        return {}

    def read(session: Session) -> tuple[dict[UUID, int], dict[str, dict[str, int]], dict[str, Switch]]:
        names = {run.backend for run in held if run.queued_at is not None}
        active = {name: queue.active_runs(session, name) for name in names}
        return queue.positions(session, held), active, switches.switches(session)

    positions, active, paused = await store.read(read)
    reasons: dict[UUID, str] = {}
    for run in held:
        if run.queued_at is not None:
            switch = paused.get(run.backend)
            cap = _paused(switch) if switch else _cap(settings, run, active[run.backend])
            reasons[run.run_id] = f"queued: {cap}, {_before(positions.get(run.run_id, 0))}"
        elif run.after_run is not None and run.placed_at is None:
            reasons[run.run_id] = f"queued: sent when run {run.after_run} has ended"
    return reasons


def _paused(switch: Switch) -> str:
    told = f"backend {switch.backend} is {'drained' if switch.draining else 'paused'}"
    return f"{told} ({switch.reason})" if switch.reason else told


def _cap(settings: ServiceSettings, run: Run, active: dict[str, int]) -> str:
    share: Share = settings.share_of(run.project)
    if active.get(run.project, 0) >= share.max_active_runs:
        return f"project cap {share.max_active_runs:,} reached"
    backend = settings.backend(run.backend)
    cap = backend.max_active_runs if backend else None
    if cap is not None and sum(active.values()) >= cap:
        return f"backend cap {cap:,} reached"
    return "waiting for its turn"


def _before(position: int) -> str:
    return f"{'more than ' if position >= queue.MAX_POSITION else ''}{position:,} before it"
