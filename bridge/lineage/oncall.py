"""What the page for whoever is on call reads: newest failures, what goes on, and each pipeline's rhythm.

Each question is bounded in rows, whatever the database holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, func, literal, select, true, union_all
from sqlalchemy import text as sql
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.convert import run_from_row
from bridge.lineage.tables import PIPELINES, RUNS
from bridge.lineage.tables.running import OPEN_PHASES

MAX_FAILURES = 500
MAX_OPEN = 500
MAX_PIPELINES = 200
_AT_ONCE = 50
_GOOD_RUNS = 30
_RECENT_RUNS = 12
_RECENT_LOOKED_AT = 60
# A run that fails within the window was hardly submitted longer before it.
_LONGEST_RUN = timedelta(days=14)

PipelineKey = tuple[str, str]


def failures_since(session: Session, since: datetime, project: str | None) -> tuple[list[Run], bool]:
    """The runs that failed since then, the newest 500 by submission, and whether there are more."""
    statement = (
        select(RUNS)
        .where(RUNS.c.shown_state == RuntimeState.FAILED.value, RUNS.c.created_at >= since - _LONGEST_RUN)
        .where(func.coalesce(RUNS.c.finished_at, RUNS.c.created_at) >= since)
        .order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
        .limit(MAX_FAILURES + 1)
    )
    rows = session.execute(_of_project(statement, project)).mappings().all()
    return [run_from_row(row) for row in rows[:MAX_FAILURES]], len(rows) > MAX_FAILURES


def open_runs(session: Session, project: str | None) -> tuple[list[Run], bool]:
    """The runs that were sent and are not over, the 500 that began first, and whether there are more."""
    sent = (RunPhase.SUBMITTING.value, RunPhase.ACTIVE.value)
    statement = (
        select(RUNS)
        .where(sql(f"runs.{OPEN_PHASES}"), RUNS.c.phase.in_(sent))
        # No index has this order: the few open ones are sorted, and not all runs walked to find them.
        .order_by(func.coalesce(RUNS.c.started_at, RUNS.c.created_at))
        .limit(MAX_OPEN + 1)
    )
    rows = session.execute(_of_project(statement, project)).mappings().all()
    return [run_from_row(row) for row in rows[:MAX_OPEN]], len(rows) > MAX_OPEN


def _of_project(statement: Select[tuple[object, ...]], project: str | None) -> Select[tuple[object, ...]]:
    return statement if project is None else statement.where(RUNS.c.project == project)


def good_seconds(session: Session, pipelines: Sequence[PipelineKey]) -> dict[PipelineKey, list[float]]:
    """How long the newest 30 good runs of each pipeline (project, name) took."""
    found: dict[PipelineKey, list[float]] = {}
    for start in range(0, len(pipelines), _AT_ONCE):
        parts = [
            select(
                literal(place).label("place"),
                *(column for column in (RUNS.c.started_at, RUNS.c.finished_at)),
            )
            .where(RUNS.c.project == project, RUNS.c.pipeline_name == name, RUNS.c.good == true())
            .order_by(RUNS.c.created_at.desc())
            .limit(_GOOD_RUNS)
            for place, (project, name) in enumerate(pipelines[start : start + _AT_ONCE], start)
        ]
        rows = session.execute(union_all(*(select(part.subquery()) for part in parts)))
        for row in rows:
            if row.started_at is not None and row.finished_at is not None:
                seconds = max(0.0, (row.finished_at - row.started_at).total_seconds())
                found.setdefault(pipelines[row.place], []).append(seconds)
    return found


def newest_pipelines(session: Session, project: str | None) -> tuple[list[PipelineKey], bool]:
    """The pipelines that were heard of last, at most 200, and whether there are more."""
    statement = select(PIPELINES.c.project, PIPELINES.c.name).order_by(PIPELINES.c.id.desc())
    if project is not None:
        statement = statement.where(PIPELINES.c.project == project)
    rows = session.execute(statement.limit(MAX_PIPELINES + 1)).all()
    return [(row.project, row.name) for row in rows[:MAX_PIPELINES]], len(rows) > MAX_PIPELINES


def recent_starts(
    session: Session, pipelines: Sequence[PipelineKey]
) -> dict[PipelineKey, list[tuple[datetime, str | None]]]:
    """When the newest runs of each pipeline were submitted, newest first, each with its DagRun's id; of the
    newest 60 of that name at most 12 that are of the project."""
    found: dict[PipelineKey, list[tuple[datetime, str | None]]] = {}
    for start in range(0, len(pipelines), _AT_ONCE):
        parts = []
        for place, (project, name) in enumerate(pipelines[start : start + _AT_ONCE], start):
            newest = (
                select(RUNS.c.created_at, RUNS.c.dag_run_id, RUNS.c.project)
                .where(RUNS.c.pipeline_name == name)
                .order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
                .limit(_RECENT_LOOKED_AT)
                .subquery()
            )
            own = select(literal(place).label("place"), newest.c.created_at, newest.c.dag_run_id)
            parts.append(own.where(newest.c.project == project))
        for row in session.execute(union_all(*parts)):
            starts = found.setdefault(pipelines[row.place], [])
            if len(starts) < _RECENT_RUNS:
                starts.append((row.created_at, row.dag_run_id))
    return found
