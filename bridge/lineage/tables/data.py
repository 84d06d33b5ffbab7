"""Datasets with their versions, and the jobs of Airflow's side that wrote and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from bridge.lineage.columns import BigId
from bridge.lineage.tables.base import (
    Row,
    json_column,
    optional_text,
    optional_time,
    optional_uid,
    reference,
    surrogate,
    text_column,
    time_column,
    uid_column,
)


class JobRow(Row, table=True):
    """A job as OpenLineage names it: an Airflow DAG or task."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("project", "namespace", "name"),)

    id: int | None = surrogate()
    namespace: str = text_column()
    name: str = text_column()
    job_type: str | None = optional_text()


class JobRunRow(Row, table=True):
    """One try of an Airflow task (or a DagRun, ``task_id`` ``''``), known from an OpenLineage event, from
    the asset event that named it as a producer, or both. Both keys lead to one row."""

    __tablename__ = "job_runs"
    __table_args__ = (
        UniqueConstraint("project", "ol_run_id"),
        # The Airflow columns are all set or all NULL; NULLs never collide.
        UniqueConstraint(
            *("project", "dag_id", "dag_run_id", "task_id", "map_index", "try_number"),
            name="uq_job_runs_task_instance",
        ),
        Index("ix_job_runs_job", "job", "id"),
    )

    id: int | None = surrogate()
    job: int | None = reference("jobs.id", nullable=True)
    ol_run_id: UUID | None = optional_uid()
    parent_ol_run_id: UUID | None = optional_uid()
    dag_id: str | None = optional_text()
    dag_run_id: str | None = optional_text()
    task_id: str | None = optional_text()
    map_index: int | None = Field(default=None)
    try_number: int | None = Field(default=None)
    state: str | None = optional_text()
    started_at: datetime | None = optional_time()
    finished_at: datetime | None = optional_time()
    origin: Any = json_column()
    facets: Any = json_column()


class DatasetRow(Row, table=True):
    """A place where data lies, by its normalised URI (``uri_key`` is shortened if very long)."""

    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("dataset_id"),
        UniqueConstraint("project", "uri_key"),
    )

    id: int | None = surrogate()
    dataset_id: UUID = uid_column()
    uri: str = text_column()
    uri_key: str = text_column()
    created_at: datetime = time_column()


class DatasetVersionRow(Row, table=True):
    """What a dataset held at one time. ``version`` ``''`` means that nobody told it; such rows are told
    apart by the job run that wrote them (``unknown_by``, 0 otherwise)."""

    __tablename__ = "dataset_versions"
    __table_args__ = (
        UniqueConstraint("dataset", "version", "unknown_by"),
        Index("ix_dataset_versions_producer", "producer"),
    )

    id: int | None = surrogate()
    dataset: int = reference("datasets.id")
    version: str = text_column("")
    unknown_by: int = Field(default=0, sa_type=BigId)
    version_kind: str | None = optional_text()
    rows: int | None = Field(default=None, sa_type=BigId)
    bytes: int | None = Field(default=None, sa_type=BigId)
    written_at: datetime | None = optional_time()
    producer: int | None = reference("job_runs.id", nullable=True)


class DatasetUseRow(Row, table=True):
    """An edge: a run was given a dataset version, or a job run read or wrote it.

    ``via`` is ``input`` (the submission named it), ``importer`` (a task of the run imported its URI)
    or ``openlineage``; ``name`` is the parameter or the importer's path.
    """

    __tablename__ = "dataset_uses"
    __table_args__ = (
        # Exactly one of run and job_run is set, and NULLs never collide.
        UniqueConstraint("run", "name", "version"),
        UniqueConstraint("job_run", "direction", "version"),
        Index("ix_dataset_uses_version", "version"),
    )

    id: int | None = surrogate()
    version: int = reference("dataset_versions.id")
    run: int | None = reference("runs.id", nullable=True)
    job_run: int | None = reference("job_runs.id", nullable=True)
    direction: str = text_column()
    via: str = text_column()
    name: str = text_column("")
    position: int = Field(default=0)
