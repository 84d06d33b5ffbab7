"""The copy of a run's tasks, artifacts and metrics: storing it. Reading it (``reading``) is importable from
here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import RowMapping, select, update
from sqlmodel import Session

from bridge.domain.identity import canonical_json
from bridge.domain.lineage import Artifact, Direction, RunError, RunMirror, Task
from bridge.domain.states import RuntimeState
from bridge.lineage.bulk import changed_rows, in_pieces, insert_new, upsert_groups
from bridge.lineage.columns import clean_text
from bridge.lineage.convert import bounded_key, error_to_json, uri_key
from bridge.lineage.datasets import find_datasets, record_imports
from bridge.lineage.duties import check_fence
from bridge.lineage.errors import NotStored
from bridge.lineage.reading import artifacts_of, blobs_of, get_artifact, metrics_of, tasks_of
from bridge.lineage.records import Fence, MirrorCounts
from bridge.lineage.tables import ARTIFACT_USES, ARTIFACTS, METRIC_BLOBS, METRICS, RUNS, TASKS

__all__ = [
    "artifacts_of",
    "blobs_of",
    "get_artifact",
    "metrics_of",
    "set_task_error",
    "store_mirror",
    "store_mirrors",
    "tasks_of",
]

# A fixed namespace, so that a reference in an old XCom still leads to its artifact in a restored database.
_NAMESPACE = UUID("6b6b1a4e-2c0d-5d5b-9b1f-0a3f6f1c7a13")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ARTIFACT_KEY = ("backend", "backend_artifact_id", "incarnation")
_USE_KEY = ("run", "task", "direction", "key", "position", "artifact")


class _Place:
    """Where a mirror is stored: the run's surrogate key and what every row carries."""

    def __init__(self, row: RowMapping, mirror: RunMirror) -> None:
        self.run: int = row["id"]
        self.backend: str = row["backend"]
        self.project: str = row["project"]
        self.created_at: datetime = row["created_at"]
        self.mirror = mirror

    def row(self, **columns: Any) -> dict[str, Any]:
        return {"backend": self.backend, "project": self.project, "run": self.run, **columns}


# By a run's surrogate key.
_Counts = Mapping[int, int]


def store_mirror(
    session: Session, run_id: UUID, mirror: RunMirror, *, fence: Fence | None = None
) -> MirrorCounts:
    """Upsert a reading of a run's metadata by natural keys: repeating it changes nothing.

    What an earlier reading had and this one lacks is kept. An artifact that an importer of the run put
    out is data the run read: its URI becomes an input edge, unless the submission named it. The run's
    own row is not touched; ``change_run(mirror=…)`` is the caller's. Raises ``NotStored``, ``FencedOut``.
    """
    row = (
        session.execute(
            select(RUNS.c.id, RUNS.c.backend, RUNS.c.project, RUNS.c.created_at).where(
                RUNS.c.run_id == run_id
            )
        )
        .mappings()
        .first()
    )
    if row is None:
        raise NotStored(f"there is no run {run_id}")
    if fence is not None:
        check_fence(session, row["id"], run_id, fence)
    return store_mirrors(session, [(row, mirror)])[row["id"]]


def store_mirrors(
    session: Session, readings: Sequence[tuple[RowMapping, RunMirror]]
) -> dict[int, MirrorCounts]:
    """As ``store_mirror`` for many runs, each given as its row of ``runs``; fences are the caller's to check.

    The counts are by the runs' surrogate keys. An artifact that several of them used counts for each.
    """
    places = [_Place(row, mirror) for row, mirror in readings]
    tasks = _store_tasks(session, places)
    artifacts = _store_artifacts(session, places)
    uses = _store_uses(session, places)
    metrics = _store_metrics(session, places)
    blobs = _store_blobs(session, places)
    for place in places:
        _tie_imports(session, place, place.mirror)
    return {
        place.run: MirrorCounts(
            tasks=tasks.get(place.run, 0),
            artifacts=artifacts.get(place.run, 0),
            uses=uses.get(place.run, 0),
            metrics=metrics.get(place.run, 0),
            blobs=blobs.get(place.run, 0),
        )
        for place in places
    }


def _store_tasks(session: Session, places: Sequence[_Place]) -> _Counts:
    unknown = [_task_row(place, task) for place in places for task in _unknown_tasks(place.mirror)]
    insert_new(session, TASKS, unknown)
    return upsert_groups(
        session,
        TASKS,
        {place.run: [_task_row(place, task) for task in place.mirror.tasks] for place in places},
        key=("run", "task_id"),
        # What one source tells and another does not is not wiped out; but a task that runs again has
        # neither its old end nor its old error.
        keep_known=(
            *("parent_task_id", "kind", "iteration", "pod_name", "execution_id"),
            *("created_at", "started_at"),
        ),
        keep_in_state=("finished_at", "error"),
    )


def _task_row(place: _Place, task: Task) -> dict[str, Any]:
    return place.row(
        task_id=clean_text(task.task_id),
        name=task.name,
        path=task.path,
        parent_task_id=task.parent_task_id,
        state=task.state.value,
        kind=task.kind,
        iteration=task.iteration,
        cached=task.cached,
        pod_name=task.pod_name,
        execution_id=task.execution_id,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        error=error_to_json(task.error),
        inputs=dict(task.inputs),
        outputs=dict(task.outputs),
    )


def _unknown_tasks(mirror: RunMirror) -> list[Task]:
    """Tasks that artifacts speak of and the mirror does not hold; no edge may be lost for that."""
    told = {task.task_id for task in mirror.tasks}
    return [
        Task(
            task_id=use.task_id,
            name=use.task_path.rpartition(".")[2],
            path=use.task_path,
            parent_task_id=None,
            state=RuntimeState.UNSPECIFIED,
        )
        for artifact in mirror.artifacts
        for use in artifact.uses
        if use.task_id not in told
    ]


def _store_artifacts(session: Session, places: Sequence[_Place]) -> _Counts:
    keys = {
        artifact.uri: uri_key(artifact.uri)
        for place in places
        for artifact in place.mirror.artifacts
        if artifact.uri
    }
    known_keys = {key for key in keys.values() if key}
    datasets = {
        project: find_datasets(session, project, known_keys)
        for project in {place.project for place in places if place.mirror.artifacts}
    }
    known = ("uri", "uri_key", "name", "digest", "dataset", "created_at")
    return upsert_groups(
        session,
        ARTIFACTS,
        {
            place.run: [
                _artifact_row(place, artifact, keys.get(artifact.uri or ""), datasets[place.project])
                for artifact in place.mirror.artifacts
            ]
            for place in places
        },
        key=_ARTIFACT_KEY,
        keep_known=known,
        keep_first=("artifact_id", "project"),
    )


def _artifact_row(
    place: _Place, artifact: Artifact, key: str | None, datasets: Mapping[str, int]
) -> dict[str, Any]:
    return {
        "backend": place.backend,
        "project": place.project,
        "backend_artifact_id": clean_text(artifact.backend_artifact_id),
        "incarnation": _incarnation(artifact),
        "artifact_id": _artifact_id(place.backend, artifact),
        "type": artifact.type,
        "uri": artifact.uri,
        "uri_key": key,
        "name": artifact.name,
        "digest": artifact.digest,
        "meta": dict(artifact.metadata),
        "created_at": artifact.created_at,
        "dataset": datasets.get(key) if key else None,
    }


def _incarnation(artifact: Artifact) -> int:
    if artifact.created_at is None:
        return 0
    return (artifact.created_at - _EPOCH).days * 86_400_000 + int(
        (artifact.created_at - _EPOCH).seconds * 1000 + artifact.created_at.microsecond // 1000
    )


def _artifact_id(backend: str, artifact: Artifact) -> UUID:
    parts = [backend, clean_text(artifact.backend_artifact_id), _incarnation(artifact)]
    return uuid5(_NAMESPACE, canonical_json(parts))


def _store_uses(session: Session, places: Sequence[_Place]) -> _Counts:
    using = [place for place in places if any(artifact.uses for artifact in place.mirror.artifacts)]
    tasks = _task_keys(session, using)
    artifacts = _artifact_keys(session, using)
    rows = {
        place.run: [
            place.row(
                artifact=artifacts[_artifact_id(place.backend, artifact)],
                task=tasks[place.run, clean_text(use.task_id)],
                direction=use.direction.value,
                key=bounded_key(clean_text(use.key)),
                position=use.index,
            )
            for artifact in place.mirror.artifacts
            for use in artifact.uses
        ]
        for place in using
    }
    return upsert_groups(session, ARTIFACT_USES, rows, key=_USE_KEY, only_new=True)


def _task_keys(session: Session, places: Sequence[_Place]) -> dict[tuple[int, str], int]:
    found: dict[tuple[int, str], int] = {}
    for piece in in_pieces([place.run for place in places]):
        statement = select(TASKS.c.run, TASKS.c.task_id, TASKS.c.id).where(TASKS.c.run.in_(piece))
        found |= {(row.run, row.task_id): row.id for row in session.execute(statement)}
    return found


def _artifact_keys(session: Session, places: Sequence[_Place]) -> dict[UUID, int]:
    wanted = {
        _artifact_id(place.backend, artifact) for place in places for artifact in place.mirror.artifacts
    }
    found: dict[UUID, int] = {}
    for piece in in_pieces(wanted):
        statement = select(ARTIFACTS.c.artifact_id, ARTIFACTS.c.id).where(ARTIFACTS.c.artifact_id.in_(piece))
        found |= {row.artifact_id: row.id for row in session.execute(statement)}
    return found


def _store_metrics(session: Session, places: Sequence[_Place]) -> _Counts:
    rows = {
        place.run: [
            place.row(
                key=bounded_key(clean_text(metric.key)),
                task_path=metric.task_path,
                name=metric.name,
                step=metric.step,
                value=metric.value,
                created_at=place.created_at,
            )
            for metric in place.mirror.metrics
            if math.isfinite(metric.value)
        ]
        for place in places
    }
    return upsert_groups(session, METRICS, rows, key=("run", "key", "step"))


def _store_blobs(session: Session, places: Sequence[_Place]) -> _Counts:
    rows = {
        place.run: [
            place.row(
                task_path=bounded_key(clean_text(blob.task_path)),
                name=bounded_key(clean_text(blob.name)),
                kind=clean_text(blob.kind),
                content=blob.content,
            )
            for blob in place.mirror.blobs
        ]
        for place in places
    }
    return upsert_groups(session, METRIC_BLOBS, rows, key=("run", "task_path", "name", "kind"))


def _tie_imports(session: Session, place: _Place, mirror: RunMirror) -> None:
    importers = {task.task_id for task in mirror.tasks if task.kind == "importer"}
    imported = {
        use.task_path: artifact.uri
        for artifact in mirror.artifacts
        if artifact.uri is not None and uri_key(artifact.uri) is not None
        for use in artifact.uses
        if use.task_id in importers and use.direction is Direction.OUTPUT
    }
    if imported:
        record_imports(session, place.run, place.project, imported)


def set_task_error(session: Session, run_id: UUID, task_id: str, error: RunError) -> None:
    """Record why a task failed (with its last log lines). Raises ``NotStored``."""
    run = select(RUNS.c.id).where(RUNS.c.run_id == run_id).scalar_subquery()
    statement = (
        update(TASKS).where(TASKS.c.run == run, TASKS.c.task_id == task_id).values(error=error_to_json(error))
    )
    if not changed_rows(session, statement):
        raise NotStored(f"run {run_id} has no task {task_id}")
