"""Airflow's side, page by page and the newest first: jobs and their runs, datasets and their versions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, RowMapping, Select, select
from sqlmodel import Session

from bridge.domain.explain import JobRun
from bridge.domain.identity import Origin
from bridge.lineage.convert import uri_key
from bridge.lineage.cursors import make_cursor, page_size, parse_key, read_cursor
from bridge.lineage.jobs import job_run_of, origin_from_columns
from bridge.lineage.tables import DATASET_VERSIONS, DATASETS, JOB_RUNS, JOBS

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredJob:
    """A job as OpenLineage names it; ``type`` is ``DAG`` or ``TASK`` where that was told."""

    project: str
    namespace: str
    name: str
    type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDataset:
    """A place where data lies, by its normalised URI."""

    dataset_id: UUID
    project: str
    uri: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """What a dataset held at one time; ``version`` is ``None`` where nobody told it."""

    dataset_id: UUID
    uri: str
    version: str | None
    version_kind: str | None
    rows: int | None
    bytes: int | None
    written_at: datetime | None
    producer: Origin | None


def list_jobs(
    session: Session, *, projects: Collection[str] = (), namespace: str | None = None, **page: Any
) -> tuple[list[StoredJob], str | None]:
    """Jobs of all projects or of some, the newest first; ``page`` is ``cursor`` and ``limit``.

    Raises ``CursorError``.
    """
    statement = select(JOBS)
    if projects:
        statement = statement.where(JOBS.c.project.in_(projects))
    if namespace is not None:
        statement = statement.where(JOBS.c.namespace == namespace)
    return _page(session, statement, JOBS.c.id, "jobs", _job, **page)


def find_job(session: Session, project: str, namespace: str, name: str) -> StoredJob | None:
    """The job of that name."""
    named = (JOBS.c.project == project, JOBS.c.namespace == namespace, JOBS.c.name == name)
    row = session.execute(select(JOBS).where(*named)).mappings().first()
    return _job(row) if row is not None else None


def runs_of_job(session: Session, job: StoredJob, **page: Any) -> tuple[list[JobRun], str | None]:
    """The runs of a job that OpenLineage told of. Raises ``CursorError``."""
    key = (
        select(JOBS.c.id)
        .where(JOBS.c.project == job.project, JOBS.c.namespace == job.namespace, JOBS.c.name == job.name)
        .scalar_subquery()
    )
    statement = (
        select(JOB_RUNS, JOBS.c.namespace, JOBS.c.name)
        .join(JOBS, JOBS.c.id == JOB_RUNS.c.job)
        .where(JOB_RUNS.c.job == key, JOB_RUNS.c.ol_run_id.is_not(None))
    )
    return _page(session, statement, JOB_RUNS.c.id, "job_runs", job_run_of, **page)


def list_datasets(
    session: Session, *, projects: Collection[str] = (), uri: str | None = None, **page: Any
) -> tuple[list[StoredDataset], str | None]:
    """Datasets of all projects or of some, or that at a URI. Raises ``CursorError``."""
    statement = select(DATASETS)
    if projects:
        statement = statement.where(DATASETS.c.project.in_(projects))
    if uri is not None:
        statement = statement.where(DATASETS.c.uri_key == uri_key(uri))
    return _page(session, statement, DATASETS.c.id, "datasets", _dataset, **page)


def find_dataset(session: Session, dataset_id: UUID) -> StoredDataset | None:
    """The dataset with our id."""
    row = session.execute(select(DATASETS).where(DATASETS.c.dataset_id == dataset_id)).mappings().first()
    return _dataset(row) if row is not None else None


def versions_of_dataset(
    session: Session, dataset_id: UUID, **page: Any
) -> tuple[list[StoredVersion], str | None]:
    """The versions of a dataset with who wrote them. Raises ``CursorError``."""
    statement = (
        select(
            *DATASET_VERSIONS.c,
            DATASETS.c.dataset_id,
            DATASETS.c.uri,
            JOB_RUNS.c.dag_id,
            JOB_RUNS.c.dag_run_id,
            JOB_RUNS.c.task_id,
            JOB_RUNS.c.map_index,
            JOB_RUNS.c.try_number,
            JOB_RUNS.c.origin,
        )
        .join(DATASETS, DATASETS.c.id == DATASET_VERSIONS.c.dataset)
        .outerjoin(JOB_RUNS, JOB_RUNS.c.id == DATASET_VERSIONS.c.producer)
        .where(DATASETS.c.dataset_id == dataset_id)
    )
    return _page(session, statement, DATASET_VERSIONS.c.id, "dataset_versions", _version, **page)


def _page(
    session: Session,
    statement: Select[Any],
    key: Column[Any],
    kind: str,
    read: Callable[[RowMapping], T],
    *,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[T], str | None]:
    size = page_size(limit)
    if cursor is not None:
        (last,) = read_cursor(kind, cursor, parse_key)
        statement = statement.where(key < last)
    statement = statement.add_columns(key.label("page_key")).order_by(key.desc()).limit(size + 1)
    rows = session.execute(statement).mappings().all()
    following = make_cursor(kind, str(rows[size - 1]["page_key"])) if len(rows) > size else None
    return [read(row) for row in rows[:size]], following


def _job(row: RowMapping) -> StoredJob:
    return StoredJob(
        project=row["project"], namespace=row["namespace"], name=row["name"], type=row["job_type"]
    )


def _dataset(row: RowMapping) -> StoredDataset:
    return StoredDataset(**{name: row[name] for name in ("dataset_id", "project", "uri", "created_at")})


def _version(row: RowMapping) -> StoredVersion:
    shown = ("dataset_id", "uri", "version_kind", "rows", "bytes", "written_at")
    return StoredVersion(
        version=row["version"] or None,
        producer=origin_from_columns(row),
        **{name: row[name] for name in shown},
    )
