"""What the page for whoever is on call reads: newest failures, what goes on, and each pipeline's rhythm.

Each question is bounded in rows, whatever the database holds.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import JSON, bindparam, func, select
from sqlalchemy import text as sql
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.domain.oncall import MIN_RUNS, MOST_INTERVALS
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.bulk import in_pieces
from bridge.lineage.columns import moment_of
from bridge.lineage.convert import run_from_row
from bridge.lineage.tables import RUNS
from bridge.lineage.tables.running import OPEN_PHASES

MAX_FAILURES = 300
MAX_OPEN = 200
MAX_PIPELINES = 64
MAX_LOOKED_AT = 2000
_GOOD_RUNS = 12
_RECENT_RUNS = 12
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
    columns = ("started_at", "finished_at")
    newest = _newest_of_each(session, pipelines, columns, _GOOD_RUNS, good=True)
    return {
        key: took
        for key, runs in newest.items()
        if (took := [_seconds(started, finished) for started, finished in runs if started and finished])
    }


def _seconds(started: str, finished: str) -> float:
    return max(0.0, (moment_of(finished) - moment_of(started)).total_seconds())


@dataclass(frozen=True, slots=True)
class _Spelling:
    """What the two databases spell differently. ``given`` are the pipelines of ``:keys``; ``nested``
    says that a text is JSON; ``good`` is the condition of the partial indexes of good runs."""

    given: str
    all_of: str
    array: str
    nested: str
    good: str


_SPELLINGS = {
    "postgresql": _Spelling(
        "(SELECT k.place - 1 AS place, k.value ->> 0 AS project, k.value ->> 1 AS name"
        " FROM json_array_elements(CAST(:keys AS json)) WITH ORDINALITY AS k (value, place)) AS p",
        *("json_agg", "json_build_array", "", "r.good"),
    ),
    "sqlite": _Spelling(
        "(SELECT key AS place, json_extract(value, '$[0]') AS project, json_extract(value, '$[1]') AS name"
        " FROM json_each(:keys)) AS p",
        *("json_group_array", "json_array", "json", "r.good = 1"),
    ),
}


def _spelling(session: Session) -> _Spelling:
    return _SPELLINGS[session.get_bind().dialect.name]


def _newest(spelling: _Spelling, told: str, columns: Sequence[str], most: int, *, good: bool) -> str:
    """What is told of the newest runs of the pipeline ``p``, as a value: the index is read for each pipeline,
    by one statement however many there are."""
    only = f" AND {spelling.good}" if good else ""
    return (
        f"(SELECT {told} FROM (SELECT {', '.join(f'r.{name}' for name in columns)} FROM runs AS r"  # noqa: S608
        f" WHERE r.project = p.project AND r.pipeline_name = p.name{only}"
        f" ORDER BY r.created_at DESC LIMIT {most}) AS s)"
    )


def _newest_of_each(
    session: Session,
    pipelines: Sequence[PipelineKey],
    columns: Sequence[str],
    most: int,
    *,
    good: bool = False,
) -> dict[PipelineKey, list[list[Any]]]:
    """These columns, as JSON has them, of each pipeline's newest runs; pipelines without any are left out."""
    spelling = _spelling(session)
    told = f"{spelling.all_of}({spelling.array}({', '.join(f's.{name}' for name in columns)}))"
    found = _newest(spelling, told, columns, most, good=good)
    each = f"SELECT p.place, {found} AS found FROM {spelling.given}"  # noqa: S608
    return {
        pipelines[place]: runs
        for place, runs in _all_of(session, each, ("place",), {"keys": json.dumps(pipelines)})
        if runs
    }


def _all_of(session: Session, each: str, names: Sequence[str], given: Mapping[str, Any]) -> list[list[Any]]:
    """The rows of a statement, of which the last column ``found`` is JSON, as one value: a thousand rows of
    their own would take longer to read than to find."""
    spelling = _spelling(session)
    columns = ", ".join(f"e.{name}" for name in names)
    told = f"{spelling.all_of}({spelling.array}({columns}, {spelling.nested}(e.found)))"
    statement = sql(f"SELECT {told} AS found FROM ({each}) AS e").columns(found=JSON())  # noqa: S608
    if "projects" in given:
        statement = statement.bindparams(bindparam("projects", expanding=True))
    return session.execute(statement, dict(given)).scalar_one() or []


def silent_pipelines(
    session: Session, now: datetime, projects: Collection[str] = ()
) -> tuple[list[PipelineKey], bool]:
    """The pipelines whose next run may be overdue by how their last five good runs followed each other, those
    silent for the fewest of their intervals first: at most 64, and whether some were left out.

    Pipelines with fewer good runs come last. Of more than 2,000 pipelines the newest are looked at.
    """
    spelling = _spelling(session)
    told = f"{spelling.array}(max(s.created_at), min(s.created_at), count(*))"
    good = _newest(spelling, told, ("created_at",), MIN_RUNS, good=True)
    where = "WHERE p.project IN :projects" if projects else ""
    each = (
        f"SELECT p.project, p.name, {good} AS found FROM pipelines AS p {where}"  # noqa: S608
        f" ORDER BY p.id DESC LIMIT {MAX_LOOKED_AT + 1}"
    )
    given = {"projects": list(projects)} if projects else {}
    rows = _all_of(session, each, ("project", "name"), given)
    silent = {
        (project, name): _intervals(newest, earliest, count, now)
        for project, name, (newest, earliest, count) in rows[:MAX_LOOKED_AT]
    }
    keys = sorted(
        (key for key, count in silent.items() if count is not None), key=lambda key: silent[key] or 0
    )
    more = len(keys) > MAX_PIPELINES or len(rows) > MAX_LOOKED_AT
    return keys[:MAX_PIPELINES], more


def _intervals(newest: str | None, earliest: str | None, count: int, now: datetime) -> float | None:
    """For how many of its intervals a pipeline was silent; ``None`` where nothing can be overdue."""
    if newest is None or earliest is None or count < MIN_RUNS:
        return float(MOST_INTERVALS)
    last = moment_of(newest)
    interval = (last - moment_of(earliest)) / (MIN_RUNS - 1)
    if not interval:
        return None
    # A mean of four intervals is not the median of more; and runs that failed may have started since.
    intervals = (now - last) / interval
    return intervals if 0.5 < intervals < 3 * MOST_INTERVALS else None


def recent_starts(
    session: Session, pipelines: Sequence[PipelineKey]
) -> dict[PipelineKey, list[tuple[datetime, str | None]]]:
    """When the newest 12 runs of each pipeline were submitted, newest first, each with its DagRun's id."""
    newest = _newest_of_each(session, pipelines, ("created_at", "dag_run_id"), _RECENT_RUNS)
    starts = {
        key: [(moment_of(created_at), dag_run_id) for created_at, dag_run_id in runs]
        for key, runs in newest.items()
    }
    return {key: sorted(found, key=_submitted, reverse=True) for key, found in starts.items()}


def _submitted(start: tuple[datetime, str | None]) -> datetime:
    return start[0]


def newest_runs(session: Session, pipelines: Sequence[PipelineKey]) -> dict[PipelineKey, Run]:
    """The newest run of each pipeline; those without any are left out."""
    ids = [runs[0][0] for runs in _newest_of_each(session, pipelines, ("id",), 1).values()]
    found = [
        run_from_row(row)
        for piece in in_pieces(ids)
        for row in session.execute(select(RUNS).where(RUNS.c.id.in_(piece))).mappings()
    ]
    return {(run.project, run.pipeline.name): run for run in found}
