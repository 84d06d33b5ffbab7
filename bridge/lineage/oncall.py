"""What the page for whoever is on call reads: newest failures, what goes on, and each pipeline's rhythm.

Each question is bounded in rows, whatever the database holds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, Row, func, select, true
from sqlalchemy import text as sql
from sqlalchemy.types import TypeEngine
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.oncall import MIN_RUNS, MOST_INTERVALS
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.columns import CleanText, Uid, UtcTime
from bridge.lineage.convert import run_from_row
from bridge.lineage.tables import PIPELINES, RUNS
from bridge.lineage.tables.running import OPEN_PHASES

MAX_FAILURES = 300
MAX_OPEN = 200
MAX_PIPELINES = 64
MAX_LOOKED_AT = 2000
_AT_ONCE = 50
_GOOD_RUNS = 12
_RECENT_RUNS = 12
_NEWEST_OF_NAME = 50
# A run that fails within the window was hardly submitted longer before it.
_LONGEST_RUN = timedelta(days=14)

PipelineKey = tuple[str, str]


def failures_since(
    session: Session, since: datetime, projects: Collection[str] = ()
) -> tuple[list[Run], bool]:
    """The runs that failed since then, the newest 300 by submission, and whether there are more."""
    statement = (
        select(RUNS)
        .where(RUNS.c.shown_state == RuntimeState.FAILED.value, RUNS.c.created_at >= since - _LONGEST_RUN)
        .where(func.coalesce(RUNS.c.finished_at, RUNS.c.created_at) >= since)
        .order_by(RUNS.c.created_at.desc(), RUNS.c.run_id.desc())
        .limit(MAX_FAILURES + 1)
    )
    if projects:
        statement = statement.where(RUNS.c.project.in_(projects))
    rows = session.execute(statement).mappings().all()
    return [run_from_row(row) for row in rows[:MAX_FAILURES]], len(rows) > MAX_FAILURES


def open_runs(session: Session, projects: Collection[str] = ()) -> tuple[list[Run], bool]:
    """The runs that were sent and are not over, the 200 that began first, and whether there are more."""
    sent = (RunPhase.SUBMITTING.value, RunPhase.ACTIVE.value)
    statement = (
        select(RUNS)
        .where(sql(f"runs.{OPEN_PHASES}"), RUNS.c.phase.in_(sent))
        # No index has this order: the few open ones are sorted, and not all runs walked to find them.
        .order_by(func.coalesce(RUNS.c.started_at, RUNS.c.created_at))
        .limit(MAX_OPEN + 1)
    )
    if projects:
        # Spelt so that no index of the project's runs is walked for it.
        statement = statement.where(func.coalesce(RUNS.c.project, "").in_(projects))
    rows = session.execute(statement).mappings().all()
    return [run_from_row(row) for row in rows[:MAX_OPEN]], len(rows) > MAX_OPEN


def good_seconds(session: Session, pipelines: Sequence[PipelineKey]) -> dict[PipelineKey, list[float]]:
    """How long the newest 12 good runs of each pipeline (project, name) took."""
    good = _good(session)
    part = (
        "SELECT * FROM (SELECT {place} AS place, r.started_at, r.finished_at FROM runs AS r"  # noqa: S608
        f" WHERE r.project = :project_{{place}} AND r.pipeline_name = :name_{{place}} AND {good}"
        f" ORDER BY r.created_at DESC LIMIT {_GOOD_RUNS}) AS p{{place}}"
    )
    found: dict[PipelineKey, list[float]] = {}
    for row in _of_each(session, part, pipelines, started_at=UtcTime(), finished_at=UtcTime()):
        if row.started_at is not None and row.finished_at is not None:
            seconds = max(0.0, (row.finished_at - row.started_at).total_seconds())
            found.setdefault(pipelines[row.place], []).append(seconds)
    return found


def _good(session: Session) -> str:
    """The condition as the partial index of good runs is spelt on either database."""
    return "r.good" if session.get_bind().dialect.name == "postgresql" else "r.good = 1"


def _of_each(
    session: Session, part: str, pipelines: Sequence[PipelineKey], **columns: TypeEngine[Any]
) -> Iterator[Row[Any]]:
    """The rows of one statement per pipeline, fifty statements together, each with its pipeline's place."""
    for start in range(0, len(pipelines), _AT_ONCE):
        places = range(start, min(start + _AT_ONCE, len(pipelines)))
        statement = sql(" UNION ALL ".join(part.format(place=place) for place in places))
        given = {f"project_{place}": pipelines[place][0] for place in places}
        given |= {f"name_{place}": pipelines[place][1] for place in places}
        yield from session.execute(statement.columns(place=Integer(), **columns), given).all()


def silent_pipelines(
    session: Session, now: datetime, projects: Collection[str] = ()
) -> tuple[list[PipelineKey], bool]:
    """The pipelines whose next run may be overdue by how their last five good runs followed each other, those
    silent for the fewest of their intervals first: at most 64, and whether some were left out.

    Pipelines with fewer good runs come last. Of more than 2,000 pipelines the newest are looked at.
    """
    columns = RUNS.c
    # Spelt and ordered as the partial index of good runs is.
    good = (
        select(columns.created_at)
        .where(columns.project == PIPELINES.c.project, columns.pipeline_name == PIPELINES.c.name)
        .where(columns.good == true())
        .order_by(columns.created_at.desc())
        .limit(1)
    )
    newest, earlier = good.scalar_subquery(), good.offset(MIN_RUNS - 1).scalar_subquery()
    statement = (
        select(PIPELINES.c.project, PIPELINES.c.name, newest.label("newest"), earlier.label("earlier"))
        .order_by(PIPELINES.c.id.desc())
        .limit(MAX_LOOKED_AT + 1)
    )
    if projects:
        statement = statement.where(PIPELINES.c.project.in_(projects))
    rows = session.execute(statement).all()
    silent = {
        (row.project, row.name): _intervals(row.newest, row.earlier, now) for row in rows[:MAX_LOOKED_AT]
    }
    keys = sorted(
        (key for key, count in silent.items() if count is not None), key=lambda key: silent[key] or 0
    )
    more = len(keys) > MAX_PIPELINES or len(rows) > MAX_LOOKED_AT
    return keys[:MAX_PIPELINES], more


def _intervals(newest: datetime | None, earlier: datetime | None, now: datetime) -> float | None:
    """For how many of its intervals a pipeline was silent; ``None`` where nothing can be overdue."""
    if newest is None or earlier is None:
        return float(MOST_INTERVALS)
    interval = (newest - earlier) / (MIN_RUNS - 1)
    if not interval:
        return None
    # A mean of four intervals is not the median of more; and runs that failed may have started since.
    count = (now - newest) / interval
    return count if 0.5 < count < 3 * MOST_INTERVALS else None


def recent_starts(
    session: Session, pipelines: Sequence[PipelineKey]
) -> dict[PipelineKey, list[tuple[datetime, str | None]]]:
    """When the newest 12 runs of each pipeline were submitted, newest first, each with its DagRun's id.

    Where other projects have so many runs of a pipeline of that name that the newest 50 hold fewer than 12
    of the project, the project's good runs stand for those further back.
    """
    columns = "r.run_id, r.created_at, r.dag_run_id, r.project FROM runs AS r WHERE r.pipeline_name"
    of_name = (
        f"SELECT * FROM (SELECT {{place}} AS place, n.* FROM (SELECT {columns} = :name_{{place}}"  # noqa: S608
        f" ORDER BY r.created_at DESC, r.run_id DESC LIMIT {_NEWEST_OF_NAME}) AS n"
        f" WHERE n.project = :project_{{place}} LIMIT {_RECENT_RUNS}) AS p{{place}}"
    )
    good = _good(session)
    good_ones = (
        f"SELECT * FROM (SELECT {{place}} AS place, {columns} = :name_{{place}}"  # noqa: S608
        f" AND r.project = :project_{{place}} AND {good}"
        f" ORDER BY r.created_at DESC LIMIT {_RECENT_RUNS}) AS p{{place}}"
    )
    types: dict[str, TypeEngine[Any]] = {"run_id": Uid(), "created_at": UtcTime(), "dag_run_id": CleanText()}
    found: dict[PipelineKey, dict[UUID, tuple[datetime, str | None]]] = {key: {} for key in pipelines}
    for row in _of_each(session, of_name, pipelines, **types):
        found[pipelines[row.place]][row.run_id] = (row.created_at, row.dag_run_id)
    mixed = [key for key in pipelines if len(found[key]) < _RECENT_RUNS]
    for row in _of_each(session, good_ones, mixed, **types):
        found[mixed[row.place]][row.run_id] = (row.created_at, row.dag_run_id)
    return {
        key: sorted(starts.values(), key=_submitted, reverse=True)[:_RECENT_RUNS]
        for key, starts in found.items()
        if starts
    }


def _submitted(start: tuple[datetime, str | None]) -> datetime:
    return start[0]
