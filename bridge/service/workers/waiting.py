"""Finds out what runs that go on wait for: pods that no node takes, images that cannot be pulled, quotas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from sqlmodel import Session

from bridge.domain.causes import Cause, Evidence, rank_causes
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.kube.errors import LASTING, KubeError
from bridge.lineage import causes, mirror, runs
from bridge.lineage.database import now as database_now
from bridge.service.backends import Backend
from bridge.service.cluster import Cluster
from bridge.service.context import Context
from bridge.service.workers.evidence import with_tasks

log = logging.getLogger(__name__)

# Runs whose Workflow is read in one round, for what keeps a step from having a pod at all.
_WORKFLOWS_PER_ROUND = 3
_LASTING_PAUSE_SECONDS = 300.0
# How soon a process notices that it has become the one that follows the backend.
_IDLE_SECONDS = 1.0


class WaitingPods:
    """Asks one cluster, at a modest rate and while runs of the bridge go on."""

    def __init__(self, context: Context, backend: Backend, cluster: Cluster) -> None:
        self._context = context
        self._store = context.store
        self._backend = backend
        self._cluster = cluster
        self._told: set[UUID] = set()
        self._last_read: UUID | None = None

    async def run(self) -> None:
        """Ask until cancelled, in the process that follows the backend."""
        pause = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = await self.step()

    async def step(self) -> float:
        """One round, if this process is to make it; how many seconds to wait before the next."""
        pause = self._cluster.settings.waiting_check_seconds
        if not self._backend.leads:
            return _IDLE_SECONDS
        active = await self._store.read(lambda s: runs.unfinished_kfp_ids(s, self._backend.name))
        if not active:
            self._told.clear()
            return pause
        try:
            found = await asyncio.to_thread(self._read, sorted(active))
        except KubeError as error:
            lasting = isinstance(error, LASTING)
            if self._cluster.pods_off_because is None:
                log.warning("pods cannot be read", extra={"backend": self._backend.name, "error": str(error)})
            self._cluster.pods_off_because = str(error) if lasting else None
            return _LASTING_PAUSE_SECONDS if lasting else pause
        self._cluster.pods_off_because = None
        # Also of those that waited before and do so no longer: what is past is taken back.
        await self._record({key: found.get(key, ()) for key in (found.keys() | self._told) & active})
        self._told = set(found)
        return pause

    def _read(self, active: Sequence[UUID]) -> dict[UUID, tuple[Evidence, ...]]:
        found: dict[UUID, tuple[Evidence, ...]] = {}
        for one in self._cluster.pods.waiting():
            found[one.kfp_run_id] = found.get(one.kfp_run_id, ()) + one.evidence
        for key in self._next_workflows([key for key in active if key not in found]):
            evidence = tuple(self._cluster.pods.of_workflow(key))
            if evidence:
                found[key] = evidence
        return found

    def _next_workflows(self, quiet: Sequence[UUID]) -> list[UUID]:
        """The next few runs without a waiting pod, in turn; those that waited for a quota every time."""
        after = [key for key in quiet if self._last_read is None or key > self._last_read]
        chosen = (after or list(quiet))[:_WORKFLOWS_PER_ROUND]
        self._last_read = chosen[-1] if chosen else None
        return sorted({*chosen, *(self._told & set(quiet))})

    async def _record(self, found: dict[UUID, tuple[Evidence, ...]]) -> None:
        if not found:
            return

        def write(session: Session) -> list[Run]:
            changed = []
            moment = database_now(session)
            for run in runs.get_by_kfp_id(session, self._backend.name, list(found)).values():
                if run.phase is not RunPhase.ACTIVE:
                    continue
                ranked = self._rank(session, run, found[run.kfp_run_id])
                if causes.store_causes(session, run.run_id, ranked, waiting=True, now=moment):
                    changed.append(runs.touch_run(session, run.run_id, event="run.waiting"))
            return changed

        for run in await self._store.change(write, repeatable=True):
            log.info("what a run waits for changed", extra={"run_id": run.run_id})

    def _rank(self, session: Session, run: Run, evidence: Sequence[Evidence]) -> tuple[Cause, ...]:
        tasks = mirror.tasks_of(session, run.run_id)
        return rank_causes(with_tasks(evidence, tasks), waiting=True)
