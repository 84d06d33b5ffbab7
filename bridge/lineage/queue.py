"""The queue before each backend: runs that were accepted and wait for a place there.

A run has a place from when it is given one until it is over. Places are given in one transaction, which
also claims the runs: there is no moment at which a place belongs to nobody, and two processes never give
the same one. What is read for it grows with the projects and the places, not with the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, literal, or_, select, text, update
from sqlmodel import Session

from bridge.domain.fairness import Share, Standing, give_places, in_turn
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase
from bridge.lineage.columns import UtcTime, database_time
from bridge.lineage.convert import run_from_row
from bridge.lineage.engine import lock_name
from bridge.lineage.records import Claim, Duty, Fence, Queue
from bridge.lineage.switches import is_paused
from bridge.lineage.tables import DUTIES, RUNS
from bridge.lineage.tables.running import HAS_PLACE, IN_QUEUE

ShareOf = Callable[[str], Share]
MAX_POSITION = 1000
_QUEUE_LOCK = 0x6B66_7175

# Hops from project to project by the index, however many runs each of them has in the queue.
_WAITING_PROJECTS = text(
    f"""
    WITH RECURSIVE waiting(project) AS (
        SELECT (SELECT project FROM runs WHERE backend = :backend AND {IN_QUEUE} ORDER BY project LIMIT 1)
        UNION ALL
        SELECT (SELECT project FROM runs
                WHERE backend = :backend AND {IN_QUEUE} AND project > waiting.project
                ORDER BY project LIMIT 1)
        FROM waiting WHERE waiting.project IS NOT NULL
    )
    SELECT project, (SELECT queued_at FROM runs
                     WHERE backend = :backend AND {IN_QUEUE} AND project = waiting.project
                     ORDER BY queued_at, id LIMIT 1) AS oldest
    FROM waiting WHERE project IS NOT NULL
    """  # noqa: S608 - nothing but constants is put in
).columns(RUNS.c.project, oldest=UtcTime())


def place(
    session: Session,
    *,
    worker: str,
    backend: str,
    share_of: ShareOf,
    max_active_runs: int | None = None,
    limit: int = 50,
    lease_seconds: float = 60.0,
) -> list[Claim]:
    """Give free places of the backend to waiting runs, project by project in turn, oldest first within
    one, and claim those runs to be sent.

    ``share_of`` tells each project's cap and weight, ``max_active_runs`` how many places the backend has
    for all of them, ``limit`` how many runs the caller can take on. A backend that is paused gives none.
    """
    if limit <= 0 or not _anything_waits(session, backend):
        return []
    # Places are counted and given by one process at a time.
    lock_name(session, _QUEUE_LOCK, f"queue of {backend}")
    if is_paused(session, backend):
        return []
    active = active_runs(session, backend)
    free = limit if max_active_runs is None else min(limit, max_active_runs - sum(active.values()))
    if free <= 0:
        return []
    turns = in_turn(
        Standing(project=project, active=active.get(project, 0), oldest=oldest, share=share_of(project))
        for project, oldest in _waiting_projects(session, backend)
    )
    # Whoever comes later than this in the order cannot be given one of so few places.
    candidates = {one.project: _oldest(session, backend, one.project, free) for one in turns[:free]}
    given = give_places((replace(one, waiting=len(candidates[one.project])) for one in turns[:free]), free)
    chosen = [key for project, count in given.items() for key in candidates[project][:count]]
    return _claim(session, chosen, worker, lease_seconds) if chosen else []


def join_queue(session: Session, run_id: UUID) -> None:
    """Put a run that nothing else keeps from being sent into the queue, at the place of its age."""
    session.execute(
        update(RUNS)
        .where(RUNS.c.run_id == run_id, RUNS.c.queued_at.is_(None), RUNS.c.placed_at.is_(None))
        .values(queued_at=RUNS.c.created_at)
    )


def give_place_back(session: Session, run_id: UUID) -> None:
    """Put a run that has a place and was not sent back into the queue, at the place of its age."""
    session.execute(
        update(RUNS)
        .where(RUNS.c.run_id == run_id, RUNS.c.phase == RunPhase.QUEUED.value)
        .values(queued_at=RUNS.c.created_at, placed_at=None)
    )


def active_runs(session: Session, backend: str) -> dict[str, int]:
    """How many places of the backend each project has."""
    statement = (
        select(RUNS.c.project, func.count())
        .where(RUNS.c.backend == backend, text(HAS_PLACE))
        .group_by(RUNS.c.project)
    )
    return {project: int(count) for project, count in session.execute(statement)}


def queues(session: Session, backend: str) -> list[Queue]:
    """The backend's queue by project, with the places that each has."""
    active = active_runs(session, backend)
    statement = (
        select(RUNS.c.project, func.count(), func.min(RUNS.c.queued_at, type_=UtcTime()))
        .where(RUNS.c.backend == backend, text(IN_QUEUE))
        .group_by(RUNS.c.project)
    )
    waiting = {project: (int(count), oldest) for project, count, oldest in session.execute(statement)}
    return [
        Queue(
            backend=backend,
            project=project,
            waiting=waiting.get(project, (0, None))[0],
            oldest=waiting.get(project, (0, None))[1],
            active=active.get(project, 0),
        )
        for project in sorted({*active, *waiting})
    ]


def lengths(session: Session) -> dict[str, int]:
    """How many runs of each project are in the queue, over all backends."""
    statement = select(RUNS.c.project, func.count()).where(text(IN_QUEUE)).group_by(RUNS.c.project)
    return {project: int(count) for project, count in session.execute(statement)}


def positions(session: Session, runs: Collection[Run]) -> dict[UUID, int]:
    """How many runs of the same project and backend are before each of these in the queue.

    Counted up to ``MAX_POSITION``; runs that are not in the queue are left out.
    """
    found: dict[UUID, int] = {}
    wanted = {run.run_id for run in runs if run.queued_at is not None}
    for backend, project in {(run.backend, run.project) for run in runs if run.run_id in wanted}:
        statement = (
            select(RUNS.c.run_id)
            .where(RUNS.c.backend == backend, RUNS.c.project == project, text(IN_QUEUE))
            .order_by(RUNS.c.queued_at, RUNS.c.id)
            .limit(MAX_POSITION)
        )
        order = list(session.scalars(statement))
        found |= {run_id: before for before, run_id in enumerate(order) if run_id in wanted}
        for run in runs:
            if run.run_id in wanted and (run.backend, run.project) == (backend, project):
                found.setdefault(run.run_id, MAX_POSITION)
    return found


def _anything_waits(session: Session, backend: str) -> bool:
    statement = select(literal(1)).where(RUNS.c.backend == backend, text(IN_QUEUE)).limit(1)
    return session.execute(statement).first() is not None


def _waiting_projects(session: Session, backend: str) -> list[tuple[str, datetime]]:
    rows = session.execute(_WAITING_PROJECTS, {"backend": backend})
    return [(row.project, row.oldest) for row in rows]


def _oldest(session: Session, backend: str, project: str, count: int) -> list[int]:
    statement = (
        select(RUNS.c.id)
        .where(RUNS.c.backend == backend, RUNS.c.project == project, text(IN_QUEUE))
        .order_by(RUNS.c.queued_at, RUNS.c.id)
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    return list(session.scalars(statement))


def _claim(session: Session, chosen: list[int], worker: str, lease_seconds: float) -> list[Claim]:
    # Somebody may be just withdrawing one of them; that claim is theirs.
    free = or_(DUTIES.c.lease_until.is_(None), DUTIES.c.lease_until <= database_time())
    claimed: dict[int, Any] = {
        row.run: row
        for row in session.execute(
            update(DUTIES)
            .where(DUTIES.c.run.in_(chosen), DUTIES.c.duty == Duty.FOLLOW.value, free)
            .values(
                holder=worker,
                lease_until=database_time(lease_seconds),
                due_at=None,
                fence=DUTIES.c.fence + 1,
            )
            .returning(DUTIES.c.run, DUTIES.c.fence, DUTIES.c.lease_until, DUTIES.c.failures)
        )
    }
    rows = session.execute(
        update(RUNS)
        .where(RUNS.c.id.in_(list(claimed)))
        .values(placed_at=database_time(), queued_at=None)
        .returning(*RUNS.c)
    ).mappings()
    placed = {row["id"]: run_from_row(row) for row in rows}
    return [
        Claim(
            run=placed[key],
            fence=Fence(Duty.FOLLOW, claimed[key].fence),
            worker=worker,
            lease_until=claimed[key].lease_until,
            failures=claimed[key].failures,
        )
        for key in chosen
        if key in placed
    ]
