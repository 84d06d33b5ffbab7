"""What is old enough to go, and taking it away: runs, their artifacts and logs, and events.

Runs are walked in the order of their creation, a page at a time; what may go of a page is looked at once more
in the transaction that takes it away. Never removed are: a run that is not over or of which work is owed, the
newest good run of a pipeline, a run whose model another run uses, one that is held, one that answers another,
younger submission, and all runs of a submission as long as one of them stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, and_, delete, func, or_, select, true, tuple_
from sqlmodel import Session

from bridge.domain.lineage import Direction, Run
from bridge.domain.states import RunPhase
from bridge.lineage import audit
from bridge.lineage.bulk import changed_rows, in_pieces, upsert
from bridge.lineage.convert import run_from_row
from bridge.lineage.engine import may_write
from bridge.lineage.holds import held_runs
from bridge.lineage.submissions import attempts_made
from bridge.lineage.tables import (
    ARTIFACT_USES,
    ARTIFACTS,
    DATASET_USES,
    DUTIES,
    EMISSIONS,
    METRIC_BLOBS,
    METRICS,
    QUARANTINE,
    RUN_HISTORY,
    RUN_USAGE,
    RUNS,
    SUBMISSIONS,
    TASK_CAUSES,
    TASKS,
    USED_KEYS,
)

MODEL_TYPE = "system.Model"
Place = tuple[datetime, UUID]

# Children first: the uses name the tasks.
_OF_A_RUN: tuple[Table, ...] = (
    ARTIFACT_USES,
    METRICS,
    METRIC_BLOBS,
    TASK_CAUSES,
    TASKS,
    DATASET_USES,
    EMISSIONS,
    RUN_USAGE,
    RUN_HISTORY,
    DUTIES,
)
_MOST_TASKS = 2000
# Edges of one transaction.
MOST_EDGES = 2000


@dataclass(frozen=True, slots=True)
class RunPage:
    """A page of old runs: the keys of those that may go, why others stay, and where the next page begins
    (``None``: this was the last)."""

    going: tuple[int, ...]
    staying: Mapping[str, int]
    next: Place | None


def old_runs(
    session: Session,
    before: datetime,
    after: Place | None,
    *,
    limit: int = 50,
) -> RunPage:
    """The next page of runs made before that, in the order of creation."""
    statement = select(RUNS).where(RUNS.c.created_at < before)
    statement = statement.order_by(RUNS.c.created_at, RUNS.c.run_id).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(RUNS.c.created_at, RUNS.c.run_id) > after)
    rows = session.execute(statement).mappings().all()
    runs = {row["id"]: run_from_row(row) for row in rows}
    verdicts = _verdicts(session, runs, before)
    going = tuple(key for key in runs if verdicts[key] is None)
    staying = Counter(verdict for key in runs if (verdict := verdicts[key]) is not None)
    last = (rows[-1]["created_at"], rows[-1]["run_id"]) if len(rows) == limit else None
    return RunPage(going, staying, last)


def remove_runs(session: Session, keys: Collection[int], before: datetime) -> list[int]:
    """Take these runs away, with all that belongs to them alone; which were. Those that have come to matter
    since they were listed stay, and so do those beyond 2,000 tasks in all, but for the first run."""
    _lock_submissions(session, keys)
    rows = session.execute(select(RUNS).where(RUNS.c.id.in_(keys)).order_by(RUNS.c.id).with_for_update())
    runs = {row["id"]: run_from_row(row) for row in rows.mappings()}
    verdicts = _verdicts(session, runs, before)
    going = _few_tasks(session, [key for key in runs if verdicts[key] is None])
    if not going:
        return []
    used = select(ARTIFACT_USES.c.artifact).where(ARTIFACT_USES.c.run.in_(going)).distinct()
    artifacts = list(session.scalars(used))
    for table in _OF_A_RUN:
        session.execute(delete(table).where(table.c.run.in_(going)))
    gone = [runs[key] for key in going]
    _remember_keys(session, gone)
    session.execute(delete(RUNS).where(RUNS.c.id.in_(going)))
    _remove_unused(session, artifacts)
    _remove_submissions(session, gone)
    told = sorted(str(runs[key].run_id) for key in going)
    audit.record(session, "retention.runs", actor="retention", data={"before": str(before), "runs": told})
    return going


def old_artifacts(
    session: Session,
    before: datetime,
    after: Place | None,
    *,
    limit: int = 50,
    most: int | None = None,
) -> tuple[list[int], Place | None]:
    """The edges to artifacts, but models, of the next page of runs that were over before that, at most so
    many; and where the next page begins. What a run uses that is not as old stays known.

    In a transaction that writes nobody else changes these runs until it ends.
    """
    statement = select(RUNS).where(RUNS.c.created_at < before, _has_artifacts())
    statement = statement.order_by(RUNS.c.created_at, RUNS.c.run_id).limit(limit)
    if after is not None:
        statement = statement.where(tuple_(RUNS.c.created_at, RUNS.c.run_id) > after)
    if may_write(session):
        statement = statement.with_for_update()
    rows = session.execute(statement).mappings().all()
    last = (rows[-1]["created_at"], rows[-1]["run_id"]) if len(rows) == limit else None
    runs = {row["id"]: run_from_row(row) for row in rows}
    # A model that others use keeps its run, and not what else the run made.
    verdicts = _verdicts(session, runs, before, of_models=False)
    going = [key for key in runs if verdicts[key] is None]
    other = ARTIFACT_USES.alias("other")
    younger = (
        select(other.c.id)
        .join(RUNS, RUNS.c.id == other.c.run)
        .where(
            other.c.artifact == ARTIFACT_USES.c.artifact,
            or_(RUNS.c.finished_at.is_(None), RUNS.c.finished_at >= before),
        )
    )
    edges = session.scalars(
        select(ARTIFACT_USES.c.id)
        .join(ARTIFACTS, ARTIFACTS.c.id == ARTIFACT_USES.c.artifact)
        .where(ARTIFACT_USES.c.run.in_(going), ARTIFACTS.c.type != MODEL_TYPE, ~younger.exists())
        .order_by(ARTIFACT_USES.c.id)
        .limit(most)
    )
    return list(edges), last


def remove_edges(session: Session, edges: Collection[int]) -> int:
    """Take these edges away, and the artifacts that no run uses any more; how many edges."""
    removed = 0
    for piece in in_pieces(list(edges)):
        one = ARTIFACT_USES.c.id.in_(piece)
        artifacts = list(session.scalars(select(ARTIFACT_USES.c.artifact).where(one).distinct()))
        removed += changed_rows(session, delete(ARTIFACT_USES).where(one))
        _remove_unused(session, artifacts)
    return removed


def is_last_good(session: Session, run: Run) -> bool:
    """Whether no newer run of the pipeline is good."""
    if not run.is_good:
        return False
    newest = session.scalars(
        select(RUNS.c.run_id)
        .where(
            RUNS.c.project == run.project, RUNS.c.pipeline_name == run.pipeline.name, RUNS.c.good == true()
        )
        .order_by(RUNS.c.created_at.desc())
        .limit(1)
    ).first()
    return newest == run.run_id


def cutoff(moment: datetime, days: float) -> datetime:
    """What is older than so many days at that moment is old."""
    return moment - timedelta(days=days)


def _verdicts(
    session: Session,
    runs: Mapping[int, Run],
    before: datetime,
    *,
    of_models: bool = True,
) -> dict[int, str | None]:
    """Why each run stays; ``None`` for those that may go."""
    family = dict(runs) | _siblings(session, runs)
    keys = list(family)
    owed = set(session.scalars(_owed(keys))) | set(session.scalars(_set_aside(keys)))
    awaited = set(session.scalars(_awaited([run.run_id for run in family.values()])))
    held = held_runs(session, [run.run_id for run in family.values()])
    answering = set(session.scalars(_answering_others(keys, before)))
    modelling = set(session.scalars(_models_in_use(keys))) if of_models else set()
    found: dict[int, str | None] = {}
    for key, run in family.items():
        over = (run.over_at or run.created_at) if run.phase.is_over else None
        if over is None or over >= before:
            found[key] = "younger or not over"
        elif key in owed or run.run_id in awaited:
            found[key] = "work is owed"
        elif run.run_id in held:
            found[key] = "held"
        elif key in answering:
            found[key] = "it answers a younger submission"
        elif key in modelling:
            found[key] = "its model is in use"
        else:
            found[key] = "last good" if is_last_good(session, run) else None
    stays = {run.submission_key for key, run in family.items() if found[key] is not None} - {None}
    for key, run in family.items():
        if found[key] is None and run.submission_key in stays:
            found[key] = "another attempt stays"
    return {key: found[key] for key in runs}


def _siblings(session: Session, runs: Mapping[int, Run]) -> dict[int, Run]:
    submissions = {run.submission_key for run in runs.values() if run.submission_key is not None}
    rows = session.execute(select(RUNS).where(RUNS.c.submission_key.in_(submissions))).mappings()
    return {row["id"]: run_from_row(row) for row in rows}


def _owed(keys: list[int]) -> Select[Any]:
    waits = or_(DUTIES.c.due_at.is_not(None), DUTIES.c.lease_until.is_not(None))
    return select(DUTIES.c.run).where(DUTIES.c.run.in_(keys), waits)


def _set_aside(keys: list[int]) -> Select[Any]:
    return select(QUARANTINE.c.run).where(QUARANTINE.c.run.in_(keys))


def _awaited(run_ids: list[UUID]) -> Select[Any]:
    return select(RUNS.c.after_run).where(
        RUNS.c.after_run.in_(run_ids), RUNS.c.phase == RunPhase.QUEUED.value
    )


def _answering_others(keys: list[int], before: datetime) -> Select[Any]:
    return (
        select(RUNS.c.id)
        .join(SUBMISSIONS, SUBMISSIONS.c.current_run == RUNS.c.run_id)
        .where(RUNS.c.id.in_(keys), SUBMISSIONS.c.created_at >= before)
        .where(SUBMISSIONS.c.key.is_distinct_from(RUNS.c.submission_key))
    )


def _models_in_use(keys: list[int]) -> Select[Any]:
    other = ARTIFACT_USES.alias("other")
    return (
        select(ARTIFACT_USES.c.run)
        .join(ARTIFACTS, and_(ARTIFACTS.c.id == ARTIFACT_USES.c.artifact, ARTIFACTS.c.type == MODEL_TYPE))
        .join(other, and_(other.c.artifact == ARTIFACTS.c.id, other.c.run != ARTIFACT_USES.c.run))
        .where(ARTIFACT_USES.c.run.in_(keys), ARTIFACT_USES.c.direction == Direction.OUTPUT.value)
        .distinct()
    )


def _has_artifacts() -> ColumnElement[bool]:
    uses = select(ARTIFACT_USES.c.id).join(ARTIFACTS, ARTIFACTS.c.id == ARTIFACT_USES.c.artifact)
    return uses.where(ARTIFACT_USES.c.run == RUNS.c.id, ARTIFACTS.c.type != MODEL_TYPE).exists()


def _few_tasks(session: Session, keys: list[int]) -> list[int]:
    """The first of them that have few tasks together, and one at least: a transaction stays short."""
    counted = session.execute(
        select(TASKS.c.run, func.count()).where(TASKS.c.run.in_(keys)).group_by(TASKS.c.run)
    )
    tasks = {run: int(number) for run, number in counted}

    def first() -> Iterator[int]:
        total = 0
        for key in keys:
            total += tasks.get(key, 0)
            if total > _MOST_TASKS and total != tasks.get(key, 0):
                return
            yield key

    return list(first())


def _remove_unused(session: Session, artifacts: Collection[int]) -> None:
    used = select(ARTIFACT_USES.c.id).where(ARTIFACT_USES.c.artifact == ARTIFACTS.c.id).exists()
    for piece in in_pieces(list(artifacts)):
        changed_rows(session, delete(ARTIFACTS).where(ARTIFACTS.c.id.in_(piece), ~used))


def _lock_submissions(session: Session, keys: Collection[int]) -> None:
    """Nobody writes another attempt of them, or is answered by their runs, until this is over: whoever asks
    takes the submission first, too."""
    runs = session.execute(select(RUNS.c.run_id, RUNS.c.submission_key).where(RUNS.c.id.in_(keys))).all()
    own = [run.submission_key for run in runs if run.submission_key is not None]
    theirs = or_(SUBMISSIONS.c.key.in_(own), SUBMISSIONS.c.current_run.in_([run.run_id for run in runs]))
    # One order everywhere, so that two transactions never wait for each other crosswise.
    session.execute(select(SUBMISSIONS.c.key).where(theirs).order_by(SUBMISSIONS.c.key).with_for_update())


def _remember_keys(session: Session, gone: Collection[Run]) -> None:
    """The backend may still have these attempts: whoever asks with their keys again gets later ones."""
    by_key = {run.submission_key: run for run in gone if run.submission_key is not None}
    rows = [
        {"key": key, "attempts": attempts_made(session, key), "backend": run.backend, "project": run.project}
        for key, run in by_key.items()
    ]
    upsert(session, USED_KEYS, rows, key=("key",))


def _remove_submissions(session: Session, gone: Collection[Run]) -> None:
    """Those whose last run this was, and those that it answered although it was another's."""
    left = select(RUNS.c.id).where(RUNS.c.submission_key == SUBMISSIONS.c.key).exists()
    own = [run.submission_key for run in gone if run.submission_key is not None]
    theirs = or_(SUBMISSIONS.c.key.in_(own), SUBMISSIONS.c.current_run.in_([run.run_id for run in gone]))
    session.execute(delete(SUBMISSIONS).where(theirs, ~left))
