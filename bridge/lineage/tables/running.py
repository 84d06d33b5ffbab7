"""What the bridge does: submissions, runs, who works on them, and the compiled pipelines they run."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field

from bridge.lineage.columns import BigId, CleanText
from bridge.lineage.tables.base import (
    Row,
    json_column,
    optional_json,
    optional_text,
    optional_time,
    optional_uid,
    reference,
    surrogate,
    text_column,
    time_column,
    uid_column,
)

# Literal in the index and in the statements, so that even a generic plan can use the index.
OPEN_PHASES = "phase IN ('QUEUED', 'SUBMITTING', 'ACTIVE')"
IN_QUEUE = "phase = 'QUEUED' AND queued_at IS NOT NULL"
HAS_PLACE = f"placed_at IS NOT NULL AND {OPEN_PHASES}"


class PipelineRow(Row, table=True):
    """A pipeline, by the name in its compiled spec."""

    __tablename__ = "pipelines"
    __table_args__ = (UniqueConstraint("project", "name"),)

    id: int | None = surrogate()
    name: str = text_column()
    created_at: datetime = time_column()


class PipelineVersionRow(Row, table=True):
    """A version of a pipeline: one digest, perhaps with a registered name."""

    __tablename__ = "pipeline_versions"
    __table_args__ = (UniqueConstraint("pipeline", "digest"),)

    id: int | None = surrogate()
    pipeline: int = reference("pipelines.id")
    digest: str = text_column()
    version_name: str | None = optional_text()
    created_at: datetime = time_column()


class PipelineAliasRow(Row, table=True):
    """A name of a pipeline's version that can be moved, such as ``prod``."""

    __tablename__ = "pipeline_aliases"
    __table_args__ = (UniqueConstraint("pipeline", "alias"),)

    id: int | None = surrogate()
    pipeline: int = reference("pipelines.id")
    alias: str = text_column()
    digest: str = text_column()
    changed_at: datetime = time_column()


class SpecRow(Row, table=True):
    """A compiled pipeline's text, once per digest and project."""

    __tablename__ = "specs"
    __table_args__ = (UniqueConstraint("project", "digest"),)

    id: int | None = surrogate()
    digest: str = text_column()
    name: str = text_column()
    content: str = text_column()
    created_at: datetime = time_column()


class BackendVersionRow(Row, table=True):
    """Where a backend keeps a spec that was uploaded to it."""

    __tablename__ = "backend_versions"
    __table_args__ = (UniqueConstraint("backend", "namespace", "digest"),)

    id: int | None = surrogate()
    namespace: str = text_column("")
    digest: str = text_column()
    pipeline_id: str = text_column()
    version_id: str = text_column()
    pipeline_name: str = text_column()
    version_name: str = text_column()


class SubmissionRow(Row, table=True):
    """The recorded intent to have a run."""

    __tablename__ = "submissions"
    __table_args__ = (
        UniqueConstraint("key"),
        Index("ix_submissions_family", "family"),
        Index("ix_submissions_current_run", "current_run"),
    )

    id: int | None = surrogate()
    key: UUID = uid_column()
    family: UUID | None = optional_uid()
    namespace: str | None = optional_text()
    pipeline_name: str = text_column()
    pipeline_digest: str = text_column()
    version_name: str | None = optional_text()
    display_name: str = text_column()
    experiment: str = text_column()
    arguments: Any = json_column()
    inputs: Any = json_column()
    origin: Any = json_column()
    request_digest: str = text_column()
    created_at: datetime = time_column()
    service_account: str | None = optional_text()
    pipeline_root: str | None = optional_text()
    caching: bool | None = Field(default=None)
    labels: Any = json_column()
    on_retry: str = text_column()
    on_clear: str = text_column()
    gate: str | None = optional_text()
    try_number: int = Field(default=1)
    current_run: UUID | None = optional_uid()
    alias: str | None = optional_text()


class UsedKeyRow(Row, table=True):
    """A key whose submission was removed, and its highest attempt: the backend may still have its runs."""

    __tablename__ = "used_keys"
    __table_args__ = (UniqueConstraint("key"),)

    id: int | None = surrogate()
    key: UUID = uid_column()
    attempts: int = Field()


class RunRow(Row, table=True):
    """One KFP run. ``shown_state``, ``good`` and ``words`` are derived from the other columns at each change.

    Triggers copy ``words`` into the search index ``run_words`` and ``labels`` into ``run_labels``.
    """

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("run_id"),
        UniqueConstraint("backend", "kfp_run_id"),
        Index("ix_runs_created", "created_at", "run_id"),
        Index("ix_runs_project_created", "project", "created_at", "run_id"),
        Index("ix_runs_pipeline_created", "pipeline_name", "created_at", "run_id"),
        Index(
            *("ix_runs_project_pipeline_created", "project", "pipeline_name", "created_at", "run_id"),
            "dag_run_id",
        ),
        Index("ix_runs_state_created", "shown_state", "created_at", "run_id"),
        Index("ix_runs_project_state_created", "project", "shown_state", "created_at", "run_id"),
        Index(
            *("ix_runs_dag_created", "dag_id", "created_at", "run_id"),
            postgresql_where=text("dag_id IS NOT NULL"),
            sqlite_where=text("dag_id IS NOT NULL"),
        ),
        Index(
            *("ix_runs_experiment_created", "experiment", "created_at", "run_id"),
            postgresql_where=text("experiment IS NOT NULL"),
            sqlite_where=text("experiment IS NOT NULL"),
        ),
        Index(
            *("ix_runs_finished", "finished_at", "run_id"),
            postgresql_where=text("finished_at IS NOT NULL"),
            sqlite_where=text("finished_at IS NOT NULL"),
        ),
        Index("ix_runs_dag", "dag_id", "dag_run_id", "task_id"),
        Index("ix_runs_submission", "submission_key"),
        Index(
            "ix_runs_after",
            "after_run",
            postgresql_where=text("after_run IS NOT NULL"),
            sqlite_where=text("after_run IS NOT NULL"),
        ),
        Index(
            "ix_runs_parent",
            "project",
            "parent_ol_run_id",
            postgresql_where=text("parent_ol_run_id IS NOT NULL"),
            sqlite_where=text("parent_ol_run_id IS NOT NULL"),
        ),
        Index(
            "ix_runs_open",
            "backend",
            "phase",
            postgresql_where=text(OPEN_PHASES),
            sqlite_where=text(OPEN_PHASES),
        ),
        Index(
            "ix_runs_queue",
            "backend",
            "project",
            "queued_at",
            "id",
            postgresql_where=text(IN_QUEUE),
            sqlite_where=text(IN_QUEUE),
        ),
        Index(
            "ix_runs_placed",
            "backend",
            "project",
            postgresql_where=text(HAS_PLACE),
            sqlite_where=text(HAS_PLACE),
        ),
        Index(
            "ix_runs_good",
            "project",
            "pipeline_name",
            "created_at",
            postgresql_where=text("good"),
            sqlite_where=text("good = 1"),
        ),
        Index(
            *("ix_runs_good_times", "project", "pipeline_name", "created_at", "started_at"),
            *("finished_at", "good"),
            postgresql_where=text("good"),
            sqlite_where=text("good = 1"),
        ),
    )

    id: int | None = surrogate()
    run_id: UUID = uid_column()
    kfp_run_id: UUID = uid_column()
    namespace: str | None = optional_text()
    submission_key: UUID | None = optional_uid()
    attempt: int = Field(default=1)
    pipeline_name: str = text_column()
    pipeline_digest: str = text_column()
    version_name: str | None = optional_text()
    display_name: str = text_column()
    experiment: str | None = optional_text()
    phase: str = text_column()
    state: str = text_column()
    shown_state: str = text_column()
    good: bool = Field(default=False)
    mirror: str = text_column()
    version: int = Field(default=1)
    created_at: datetime = time_column()
    submitted_at: datetime | None = optional_time()
    started_at: datetime | None = optional_time()
    finished_at: datetime | None = optional_time()
    observed_at: datetime | None = optional_time()
    settled_at: datetime | None = optional_time()
    after_run: UUID | None = optional_uid()
    queued_at: datetime | None = optional_time()
    placed_at: datetime | None = optional_time()
    cancel_requested_at: datetime | None = optional_time()
    revivals: int = Field(default=0)
    error: Any = optional_json()
    gate: Any = optional_json()
    arguments: Any = json_column()
    labels: Any = json_column()
    origin: Any = json_column()
    scheduler: str | None = optional_text()
    dag_id: str | None = optional_text()
    dag_run_id: str | None = optional_text()
    task_id: str | None = optional_text()
    map_index: int = Field(default=-1)
    alias: str | None = optional_text()
    parent_ol_run_id: UUID | None = optional_uid()
    words: str = Field(default="", sa_type=CleanText, sa_column_kwargs={"server_default": text("''")})


class RunLabelRow(Row, table=True):
    """A label of a run, in the order of time; a copy that triggers keep."""

    __tablename__ = "run_labels"
    __table_args__ = (
        UniqueConstraint("run", "name"),
        Index("ix_run_labels_newest", "name", "value", "created_at", "run"),
    )

    id: int | None = surrogate()
    run: int = Field(sa_type=BigId, sa_column_args=[ForeignKey("runs.id", ondelete="CASCADE")])
    name: str = text_column()
    value: str = text_column()
    created_at: datetime = time_column()


class RunHistoryRow(Row, table=True):
    """A change of a run's phase or state."""

    __tablename__ = "run_history"
    __table_args__ = (Index("ix_run_history_run", "run", "id"),)

    id: int | None = surrogate()
    run: int = reference("runs.id")
    at: datetime = time_column()
    phase: str = text_column()
    state: str = text_column()
    version: int = Field()
    error: Any = optional_json()


class DutyRow(Row, table=True):
    """When to look at a run again, and who is looking. Kept apart from ``runs`` because it changes most.

    A claim empties ``due_at`` and sets ``lease_until``: what is in ``due_at`` when it is given back was
    asked for meanwhile. A row stays when nothing is due, so that ``fence`` never starts again.
    """

    __tablename__ = "duties"
    __table_args__ = (
        UniqueConstraint("run", "duty"),
        Index(
            "ix_duties_due",
            "duty",
            "due_at",
            postgresql_where=text("due_at IS NOT NULL"),
            sqlite_where=text("due_at IS NOT NULL"),
        ),
        Index(
            "ix_duties_lease",
            "lease_until",
            postgresql_where=text("lease_until IS NOT NULL"),
            sqlite_where=text("lease_until IS NOT NULL"),
        ),
    )

    id: int | None = surrogate()
    run: int = reference("runs.id")
    duty: str = text_column()
    due_at: datetime | None = optional_time()
    holder: str | None = optional_text()
    lease_until: datetime | None = optional_time()
    fence: int = Field(default=0)
    failures: int = Field(default=0)
