"""What a pipeline's page asks for: its runs over time, what they measured, how long they took.

Every question is bounded: by a page of runs, by a number of keys, or by an index that has the order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, true
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.states import RuntimeState, parse_state
from bridge.lineage.bulk import in_pieces
from bridge.lineage.convert import run_from_row
from bridge.lineage.listing import list_runs
from bridge.lineage.records import RunFilter
from bridge.lineage.tables import METRICS, PIPELINE_VERSIONS, PIPELINES, RUNS, TASKS

MAX_VERSIONS = 20
MAX_KEYS = 200
# So many runs are looked at for the names of metrics.
_RUNS_FOR_KEYS = 20
_MAX_TASK_ROWS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GridTask:
    """A task directly below the root, as a field of the grid of a pipeline's runs."""

    path: str
    state: RuntimeState
    cached: bool
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a pipeline."""

    digest: str
    version_name: str | None
    created_at: datetime


def runs_of_pipeline(
    session: Session,
    project: str,
    name: str,
    *,
    cursor: str | None = None,
    before: datetime | None = None,
    limit: int = 50,
) -> tuple[list[Run], str | None]:
    """The pipeline's runs, newest first, and the next page's cursor. Raises ``CursorError``."""
    where = RunFilter(pipeline=name, projects=(project,), created_before=before)
    return list_runs(session, where, cursor=cursor, limit=limit)


def good_runs(
    session: Session, project: str, name: str, *, before: datetime | None = None, limit: int
) -> list[Run]:
    """The newest good runs of the pipeline, created before that moment, newest first."""
    # Spelt and ordered as the partial index is, or SQLite walks all runs of the project.
    statement = (
        select(RUNS)
        .where(RUNS.c.project == project, RUNS.c.pipeline_name == name, RUNS.c.good == true())
        .order_by(RUNS.c.created_at.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(RUNS.c.created_at < before)
    return [run_from_row(row) for row in session.execute(statement).mappings()]


def is_registered(session: Session, project: str, name: str) -> bool:
    """Whether a version of the pipeline was registered or submitted."""
    known = select(PIPELINES.c.id).where(PIPELINES.c.project == project, PIPELINES.c.name == name)
    return session.scalars(known).first() is not None


def versions_of(session: Session, project: str, name: str) -> list[Version]:
    """The pipeline's newest versions, at most 20."""
    columns = PIPELINE_VERSIONS.c
    statement = (
        select(columns.digest, columns.version_name, columns.created_at)
        .join(PIPELINES, PIPELINES.c.id == columns.pipeline)
        .where(PIPELINES.c.project == project, PIPELINES.c.name == name)
        .order_by(columns.created_at.desc(), columns.id.desc())
        .limit(MAX_VERSIONS)
    )
    return [Version(**row) for row in session.execute(statement).mappings()]


def values_of(
    session: Session, run_ids: Collection[UUID], keys: Collection[str]
) -> dict[UUID, dict[str, float]]:
    """The value of each of these metrics at its last step, by run and key; what is absent is left out."""
    found: dict[UUID, dict[str, float]] = {}
    for key in keys:
        for piece in in_pieces(run_ids):
            # From the runs to their last steps by index: a metric may have many steps.
            last = select(METRICS.c.value).where(METRICS.c.run == RUNS.c.id, METRICS.c.key == key)
            value = last.order_by(METRICS.c.step.desc()).limit(1).scalar_subquery()
            rows = session.execute(
                select(RUNS.c.run_id, value.label("value")).where(RUNS.c.run_id.in_(piece))
            )
            for row in rows:
                if row.value is not None:
                    found.setdefault(row.run_id, {})[key] = row.value
    return found


def keys_of(session: Session, run_ids: Sequence[UUID]) -> list[str]:
    """The keys of metrics that the first 20 of these runs have, by name, at most 200."""
    return sorted(session.scalars(_keys(run_ids)))[:MAX_KEYS]


def keys_spelt(session: Session, run_ids: Sequence[UUID], names: Collection[str]) -> list[str]:
    """Of the keys that the first 20 of these runs have those that are one of the names, with ``_`` for
    each ``-``."""
    spelt = func.replace(METRICS.c.key, "-", "_")
    return sorted(session.scalars(_keys(run_ids).where(spelt.in_(names))).all())


def _keys(run_ids: Sequence[UUID]) -> Select[Any]:
    first = list(dict.fromkeys(run_ids))[:_RUNS_FOR_KEYS]
    inside = select(RUNS.c.id).where(RUNS.c.run_id.in_(first))
    return select(METRICS.c.key).where(METRICS.c.run.in_(inside)).distinct()


def grid_of(session: Session, run_ids: Collection[UUID]) -> tuple[Mapping[UUID, list[GridTask]], bool]:
    """The tasks directly below the root of each run, in the order they started, and whether some were left
    out because the runs have more than 20,000 tasks."""
    columns = TASKS.c
    told = (columns.path, columns.state, columns.cached, columns.started_at, columns.finished_at)
    seen = (
        select(RUNS.c.run_id, *told, columns.id)
        .join_from(TASKS, RUNS, RUNS.c.id == columns.run)
        .where(RUNS.c.run_id.in_(run_ids))
        .limit(_MAX_TASK_ROWS + 1)
    )
    found: dict[UUID, list[GridTask]] = {}
    rows = session.execute(seen).all()
    for row in rows[:_MAX_TASK_ROWS]:
        if row.path and "." not in row.path and "[" not in row.path:
            task = GridTask(
                path=row.path,
                state=parse_state(row.state),
                cached=row.cached,
                started_at=row.started_at,
                finished_at=row.finished_at,
            )
            found.setdefault(row.run_id, []).append(task)
    for tasks in found.values():
        tasks.sort(key=lambda task: (task.started_at is None, task.started_at, task.path))
    return found, len(rows) > _MAX_TASK_ROWS
