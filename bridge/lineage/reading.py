"""Reading the copy of a run's tasks, artifacts and metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, Select, func, literal, or_, select, union_all
from sqlmodel import Session

from bridge.domain.lineage import (
    Artifact,
    ArtifactUse,
    ContentLook,
    ContentState,
    Direction,
    Metric,
    MetricBlob,
    Task,
)
from bridge.domain.states import RuntimeState, parse_state
from bridge.lineage.bulk import in_pieces
from bridge.lineage.columns import Uid
from bridge.lineage.convert import error_from_json
from bridge.lineage.records import StoredArtifact
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, METRIC_BLOBS, METRICS, RUNS, TASKS

_MAX_USES = 1000
# As many as a page holds; SQLite joins no more than 500.
_RUNS_AT_ONCE = 200


def tasks_of(session: Session, run_id: UUID) -> list[Task]:
    """All tasks of the run, in the order they were created (those without a time last)."""
    statement = _of_run(TASKS, run_id).order_by(TASKS.c.created_at.is_(None), TASKS.c.created_at, TASKS.c.id)
    return [_task(row) for row in session.execute(statement).mappings()]


def _task(row: RowMapping) -> Task:
    return Task(
        task_id=row["task_id"],
        name=row["name"],
        path=row["path"],
        parent_task_id=row["parent_task_id"],
        state=parse_state(row["state"]),
        kind=row["kind"],
        iteration=row["iteration"],
        cached=row["cached"],
        pod_name=row["pod_name"],
        execution_id=row["execution_id"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        error=error_from_json(row["error"]),
        inputs=row["inputs"],
        outputs=row["outputs"],
    )


def runs_with_failed_tasks(session: Session, runs: Collection[int]) -> set[int]:
    """Those of the runs (by surrogate key) that have a task in the state FAILED."""
    found: set[int] = set()
    for piece in in_pieces(runs):
        statement = (
            select(TASKS.c.run)
            .where(TASKS.c.run.in_(piece), TASKS.c.state == RuntimeState.FAILED.value)
            .distinct()
        )
        found.update(session.scalars(statement))
    return found


def importers_of(session: Session, run_id: UUID) -> set[str]:
    """The ids of the run's importer tasks, which put out what others made."""
    statement = _of_run(TASKS, run_id).where(TASKS.c.kind == "importer").with_only_columns(TASKS.c.task_id)
    return set(session.scalars(statement))


def artifacts_of(session: Session, run_id: UUID) -> list[Artifact]:
    """All artifacts that tasks of the run used, each with its uses within this run."""
    rows = session.execute(
        _uses(RUNS.c.run_id == run_id).order_by(ARTIFACTS.c.id, ARTIFACT_USES.c.id)
    ).mappings()
    uses: dict[int, list[ArtifactUse]] = defaultdict(list)
    artifacts: dict[int, RowMapping] = {}
    for row in rows:
        artifacts[row["id"]] = row
        uses[row["id"]].append(_use(row))
    return [artifact_from_row(row, tuple(uses[key])) for key, row in artifacts.items()]


def get_artifact(
    session: Session, artifact_id: UUID, projects: Collection[str] = ()
) -> StoredArtifact | None:
    """An artifact by our id with its uses in every run (at most 1000, the newest); with ``projects`` only if
    it is of one of these, and its uses in their runs."""
    found = select(ARTIFACTS).where(ARTIFACTS.c.artifact_id == artifact_id)
    if projects:
        found = found.where(artifact_is_of(projects))
    row = session.execute(found).mappings().first()
    if row is None:
        return None
    used = _uses(ARTIFACT_USES.c.artifact == row["id"])
    if projects:
        used = used.where(RUNS.c.project.in_(projects))
    uses = session.execute(used.order_by(ARTIFACT_USES.c.id.desc()).limit(_MAX_USES)).mappings().all()
    own = {row["project"]} if not projects or row["project"] in projects else set()
    return StoredArtifact(
        artifact=artifact_from_row(row),
        backend=row["backend"],
        project=row["project"],
        uses=tuple((use["run_uid"], _use(use)) for use in uses),
        projects=tuple(sorted(own | {use["use_project"] for use in uses})),
    )


def artifact_is_of(projects: Collection[str]) -> ColumnElement[bool]:
    """Whether an artifact is of one of the projects: the backend has one for all who make the same, so it is
    of those whose runs use it as well as of that which mirrored it first."""
    # Not EXISTS: a planner may turn it around and read all uses there are.
    used = (
        select(literal(1))
        .where(ARTIFACT_USES.c.artifact == ARTIFACTS.c.id, ARTIFACT_USES.c.project.in_(projects))
        .limit(1)
        .correlate(ARTIFACTS)
    )
    return or_(ARTIFACTS.c.project.in_(projects), func.coalesce(used.scalar_subquery(), 0) == 1)


def _uses(where: Any) -> Select[Any]:
    return (
        select(
            ARTIFACTS,
            RUNS.c.run_id.label("run_uid"),
            RUNS.c.project.label("use_project"),
            TASKS.c.task_id.label("use_task_id"),
            TASKS.c.path.label("use_task_path"),
            ARTIFACT_USES.c.key.label("use_key"),
            ARTIFACT_USES.c.direction.label("use_direction"),
            ARTIFACT_USES.c.position.label("use_position"),
        )
        .select_from(ARTIFACT_USES)
        .join(RUNS, RUNS.c.id == ARTIFACT_USES.c.run)
        .join(ARTIFACTS, ARTIFACTS.c.id == ARTIFACT_USES.c.artifact)
        .join(TASKS, TASKS.c.id == ARTIFACT_USES.c.task)
        .where(where)
    )


def _use(row: RowMapping) -> ArtifactUse:
    return ArtifactUse(
        task_id=row["use_task_id"],
        task_path=row["use_task_path"],
        key=row["use_key"],
        direction=Direction(row["use_direction"]),
        index=row["use_position"],
    )


def artifact_from_row(row: RowMapping, uses: tuple[ArtifactUse, ...] = ()) -> Artifact:
    """An artifact from its row of ``artifacts``, with these uses."""
    return Artifact(
        backend_artifact_id=row["backend_artifact_id"],
        type=row["type"],
        uri=row["uri"],
        name=row["name"],
        digest=row["digest"],
        metadata=row["meta"],
        created_at=row["created_at"],
        artifact_id=row["artifact_id"],
        uses=uses,
        content=_content(row),
        content_checked_at=row["content_checked_at"],
    )


def _content(row: RowMapping) -> ContentLook | None:
    state = row["content"]
    return ContentLook(state=ContentState(state), error=row["content_error"]) if state else None


def metrics_of(session: Session, run_id: UUID) -> list[Metric]:
    """All scalar metrics of the run, by key and step."""
    statement = _of_run(METRICS, run_id).order_by(METRICS.c.key, METRICS.c.step)
    return [
        Metric(task_path=row["task_path"], name=row["name"], value=row["value"], step=row["step"])
        for row in session.execute(statement).mappings()
    ]


def last_metrics_of(session: Session, run_id: UUID, *, limit: int) -> dict[str, float]:
    """The value of each scalar metric of the run at its last step, by key; the first ``limit`` keys."""
    later = METRICS.alias("later")
    same_key = (later.c.run == METRICS.c.run) & (later.c.key == METRICS.c.key)
    is_last = ~select(later.c.id).where(same_key, later.c.step > METRICS.c.step).exists()
    statement = _of_run(METRICS, run_id).where(is_last).order_by(METRICS.c.key).limit(limit)
    rows = session.execute(statement.with_only_columns(METRICS.c.key, METRICS.c.value))
    return {row.key: row.value for row in rows}


def first_metrics_of(
    session: Session, run_ids: Collection[UUID], *, limit: int
) -> dict[UUID, dict[str, float]]:
    """The first ``limit`` scalar metrics by key of each run that has any, those of a first step alone: for a
    page of runs, at the cost of a few entries of an index per run."""
    found: dict[UUID, dict[str, float]] = {}
    # One piece per run: each reads its first entries of an index, whichever planner looks at it.
    for piece in in_pieces(sorted(run_ids), _RUNS_AT_ONCE):
        firsts = (_first_metrics(run_id, limit).subquery() for run_id in piece)
        for run_id, key, value in session.execute(union_all(*(select(first) for first in firsts))):
            found.setdefault(run_id, {})[key] = value
    return found


def _first_metrics(run_id: UUID, limit: int) -> Select[Any]:
    asked = literal(run_id, Uid()).label("run_id")
    at_first = _of_run(METRICS, run_id).where(METRICS.c.step == 0).order_by(METRICS.c.key).limit(limit)
    return at_first.with_only_columns(asked, METRICS.c.key, METRICS.c.value)


def blobs_of(session: Session, run_id: UUID) -> list[MetricBlob]:
    """All structured metrics of the run."""
    statement = _of_run(METRIC_BLOBS, run_id).order_by(METRIC_BLOBS.c.task_path, METRIC_BLOBS.c.name)
    return [
        MetricBlob(task_path=row["task_path"], name=row["name"], kind=row["kind"], content=row["content"])
        for row in session.execute(statement).mappings()
    ]


def _of_run(table: Any, run_id: UUID) -> Select[Any]:
    run = select(RUNS.c.id).where(RUNS.c.run_id == run_id).scalar_subquery()
    return select(table).where(table.c.run == run)
