"""The first schema: every table.

Revision: 0001. A migration is history: it states the schema in full and takes nothing from the models.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from bridge.lineage.columns import BigId, CleanText, JsonText, Uid, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _keeping()
    _running()
    _data()
    _mirrored()


def _create(name: str, *parts: Any, surrogate: bool = True) -> None:
    key: list[Any] = [sa.Column("id", BigId, primary_key=True)] if surrogate else []
    belongs: list[Any] = [sa.Column(column, CleanText(), nullable=False) for column in ("backend", "project")]
    op.create_table(name, *key, *belongs, *parts)


def _only(where: str, sqlite_where: str | None = None) -> dict[str, Any]:
    return {"postgresql_where": sa.text(where), "sqlite_where": sa.text(sqlite_where or where)}


def _keeping() -> None:
    """The outbox and the bridge's own bookkeeping."""
    _create(
        "audit",
        sa.Column("time", UtcTime(), nullable=False),
        sa.Column("actor", CleanText(), nullable=False),
        sa.Column("action", CleanText(), nullable=False),
        sa.Column("run_id", Uid(), nullable=True),
        sa.Column("data", JsonText, nullable=False),
    )
    op.create_index("ix_audit_run", "audit", ["run_id"])
    _create(
        "backend_state",
        sa.Column("namespace", CleanText(), nullable=False),
        sa.Column("watermark", UtcTime(), nullable=True),
        sa.Column("metadata_watermark_ms", BigId, nullable=True),
        sa.Column("last_fast_sweep_at", UtcTime(), nullable=True),
        sa.Column("last_slow_sweep_at", UtcTime(), nullable=True),
        sa.Column("last_sweep_seconds", sa.Float(), nullable=True),
        sa.Column("tick_seconds", sa.Float(), nullable=True),
        sa.Column("stale_since", UtcTime(), nullable=True),
        sa.Column("last_error", CleanText(), nullable=True),
        sa.Column("facts", JsonText, nullable=False),
        sa.UniqueConstraint("backend", "namespace"),
    )
    _create(
        "counters",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("value", BigId, nullable=False),
        surrogate=False,
    )
    _create(
        "leases",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("holder", CleanText(), nullable=False),
        sa.Column("until", UtcTime(), nullable=False),
        sa.Column("fence", BigId, nullable=False),
        surrogate=False,
    )
    _create(
        "outbox",
        sa.Column("number", BigId, nullable=True),
        sa.Column("type", CleanText(), nullable=False),
        sa.Column("time", UtcTime(), nullable=False),
        sa.Column("run_id", Uid(), nullable=True),
        sa.Column("data", JsonText, nullable=False),
        sa.UniqueConstraint("number"),
    )
    op.create_index("ix_outbox_run", "outbox", ["run_id", "number"])
    op.create_index("ix_outbox_unnumbered", "outbox", ["id"], **_only("number IS NULL"))


def _running() -> None:
    """Submissions, runs, duties, compiled pipelines."""
    _create(
        "backend_versions",
        sa.Column("namespace", CleanText(), nullable=False),
        sa.Column("digest", CleanText(), nullable=False),
        sa.Column("pipeline_id", CleanText(), nullable=False),
        sa.Column("version_id", CleanText(), nullable=False),
        sa.Column("pipeline_name", CleanText(), nullable=False),
        sa.Column("version_name", CleanText(), nullable=False),
        sa.UniqueConstraint("backend", "namespace", "digest"),
    )
    _create(
        "pipelines",
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("project", "name"),
    )
    _create(
        "runs",
        sa.Column("run_id", Uid(), nullable=False),
        sa.Column("kfp_run_id", Uid(), nullable=False),
        sa.Column("namespace", CleanText(), nullable=True),
        sa.Column("submission_key", Uid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("pipeline_name", CleanText(), nullable=False),
        sa.Column("pipeline_digest", CleanText(), nullable=False),
        sa.Column("version_name", CleanText(), nullable=True),
        sa.Column("display_name", CleanText(), nullable=False),
        sa.Column("experiment", CleanText(), nullable=True),
        sa.Column("phase", CleanText(), nullable=False),
        sa.Column("state", CleanText(), nullable=False),
        sa.Column("shown_state", CleanText(), nullable=False),
        sa.Column("good", sa.Boolean(), nullable=False),
        sa.Column("mirror", CleanText(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("submitted_at", UtcTime(), nullable=True),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("observed_at", UtcTime(), nullable=True),
        sa.Column("settled_at", UtcTime(), nullable=True),
        sa.Column("after_run", Uid(), nullable=True),
        sa.Column("cancel_requested_at", UtcTime(), nullable=True),
        sa.Column("revivals", sa.Integer(), nullable=False),
        sa.Column("error", JsonText, nullable=True),
        sa.Column("gate", JsonText, nullable=True),
        sa.Column("arguments", JsonText, nullable=False),
        sa.Column("labels", JsonText, nullable=False),
        sa.Column("origin", JsonText, nullable=False),
        sa.Column("scheduler", CleanText(), nullable=True),
        sa.Column("dag_id", CleanText(), nullable=True),
        sa.Column("dag_run_id", CleanText(), nullable=True),
        sa.Column("task_id", CleanText(), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.UniqueConstraint("backend", "kfp_run_id"),
        sa.UniqueConstraint("run_id"),
    )
    op.create_index("ix_runs_after", "runs", ["after_run"], **_only("after_run IS NOT NULL"))
    op.create_index("ix_runs_created", "runs", ["created_at", "run_id"])
    op.create_index("ix_runs_dag", "runs", ["dag_id", "dag_run_id", "task_id"])
    op.create_index(
        "ix_runs_good", "runs", ["project", "pipeline_name", "created_at"], **_only("good", "good = 1")
    )
    op.create_index(
        "ix_runs_open", "runs", ["backend", "phase"], **_only("phase IN ('QUEUED', 'SUBMITTING', 'ACTIVE')")
    )
    op.create_index("ix_runs_pipeline_created", "runs", ["pipeline_name", "created_at", "run_id"])
    op.create_index("ix_runs_project_created", "runs", ["project", "created_at", "run_id"])
    op.create_index("ix_runs_state_created", "runs", ["shown_state", "created_at", "run_id"])
    op.create_index("ix_runs_submission", "runs", ["submission_key"])
    _create(
        "specs",
        sa.Column("digest", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("content", CleanText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("project", "digest"),
    )
    _create(
        "submissions",
        sa.Column("key", Uid(), nullable=False),
        sa.Column("family", Uid(), nullable=True),
        sa.Column("namespace", CleanText(), nullable=True),
        sa.Column("pipeline_name", CleanText(), nullable=False),
        sa.Column("pipeline_digest", CleanText(), nullable=False),
        sa.Column("version_name", CleanText(), nullable=True),
        sa.Column("display_name", CleanText(), nullable=False),
        sa.Column("experiment", CleanText(), nullable=False),
        sa.Column("arguments", JsonText, nullable=False),
        sa.Column("inputs", JsonText, nullable=False),
        sa.Column("origin", JsonText, nullable=False),
        sa.Column("request_digest", CleanText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.Column("service_account", CleanText(), nullable=True),
        sa.Column("pipeline_root", CleanText(), nullable=True),
        sa.Column("caching", sa.Boolean(), nullable=True),
        sa.Column("labels", JsonText, nullable=False),
        sa.Column("on_retry", CleanText(), nullable=False),
        sa.Column("on_clear", CleanText(), nullable=False),
        sa.Column("gate", CleanText(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=False),
        sa.Column("current_run", Uid(), nullable=True),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_submissions_family", "submissions", ["family"])
    _create(
        "duties",
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("duty", CleanText(), nullable=False),
        sa.Column("due_at", UtcTime(), nullable=True),
        sa.Column("holder", CleanText(), nullable=True),
        sa.Column("lease_until", UtcTime(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.UniqueConstraint("run", "duty"),
    )
    op.create_index("ix_duties_due", "duties", ["duty", "due_at"], **_only("due_at IS NOT NULL"))
    op.create_index("ix_duties_lease", "duties", ["lease_until"], **_only("lease_until IS NOT NULL"))
    _create(
        "pipeline_versions",
        sa.Column("pipeline", BigId, sa.ForeignKey("pipelines.id"), nullable=False),
        sa.Column("digest", CleanText(), nullable=False),
        sa.Column("version_name", CleanText(), nullable=True),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("pipeline", "digest"),
    )
    _create(
        "run_history",
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("phase", CleanText(), nullable=False),
        sa.Column("state", CleanText(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("error", JsonText, nullable=True),
    )
    op.create_index("ix_run_history_run", "run_history", ["run", "id"])


def _data() -> None:
    """Datasets and Airflow's side."""
    _create(
        "datasets",
        sa.Column("dataset_id", Uid(), nullable=False),
        sa.Column("uri", CleanText(), nullable=False),
        sa.Column("uri_key", CleanText(), nullable=False),
        sa.Column("created_at", UtcTime(), nullable=False),
        sa.UniqueConstraint("dataset_id"),
        sa.UniqueConstraint("project", "uri_key"),
    )
    _create(
        "jobs",
        sa.Column("namespace", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("job_type", CleanText(), nullable=True),
        sa.UniqueConstraint("project", "namespace", "name"),
    )
    _create(
        "job_runs",
        sa.Column("job", BigId, sa.ForeignKey("jobs.id"), nullable=True),
        sa.Column("ol_run_id", Uid(), nullable=True),
        sa.Column("parent_ol_run_id", Uid(), nullable=True),
        sa.Column("dag_id", CleanText(), nullable=True),
        sa.Column("dag_run_id", CleanText(), nullable=True),
        sa.Column("task_id", CleanText(), nullable=True),
        sa.Column("map_index", sa.Integer(), nullable=True),
        sa.Column("try_number", sa.Integer(), nullable=True),
        sa.Column("state", CleanText(), nullable=True),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("origin", JsonText, nullable=False),
        sa.Column("facets", JsonText, nullable=False),
        sa.UniqueConstraint(
            *("project", "dag_id", "dag_run_id", "task_id", "map_index", "try_number"),
            name="uq_job_runs_task_instance",
        ),
        sa.UniqueConstraint("project", "ol_run_id"),
    )
    _create(
        "dataset_versions",
        sa.Column("dataset", BigId, sa.ForeignKey("datasets.id"), nullable=False),
        sa.Column("version", CleanText(), nullable=False),
        sa.Column("unknown_by", BigId, nullable=False),
        sa.Column("version_kind", CleanText(), nullable=True),
        sa.Column("rows", BigId, nullable=True),
        sa.Column("bytes", BigId, nullable=True),
        sa.Column("written_at", UtcTime(), nullable=True),
        sa.Column("producer", BigId, sa.ForeignKey("job_runs.id"), nullable=True),
        sa.UniqueConstraint("dataset", "version", "unknown_by"),
    )
    op.create_index("ix_dataset_versions_producer", "dataset_versions", ["producer"])
    _create(
        "dataset_uses",
        sa.Column("version", BigId, sa.ForeignKey("dataset_versions.id"), nullable=False),
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=True),
        sa.Column("job_run", BigId, sa.ForeignKey("job_runs.id"), nullable=True),
        sa.Column("direction", CleanText(), nullable=False),
        sa.Column("via", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.UniqueConstraint("job_run", "direction", "version"),
        sa.UniqueConstraint("run", "name", "version"),
    )
    op.create_index("ix_dataset_uses_version", "dataset_uses", ["version"])


def _mirrored() -> None:
    """What backends tell of runs."""
    _create(
        "artifacts",
        sa.Column("artifact_id", Uid(), nullable=False),
        sa.Column("backend_artifact_id", CleanText(), nullable=False),
        sa.Column("incarnation", BigId, nullable=False),
        sa.Column("type", CleanText(), nullable=False),
        sa.Column("uri", CleanText(), nullable=True),
        sa.Column("uri_key", CleanText(), nullable=True),
        sa.Column("name", CleanText(), nullable=True),
        sa.Column("digest", CleanText(), nullable=True),
        sa.Column("meta", JsonText, nullable=False),
        sa.Column("created_at", UtcTime(), nullable=True),
        sa.Column("dataset", BigId, sa.ForeignKey("datasets.id"), nullable=True),
        sa.UniqueConstraint("artifact_id"),
        sa.UniqueConstraint("backend", "backend_artifact_id", "incarnation"),
    )
    op.create_index("ix_artifacts_dataset", "artifacts", ["dataset"])
    op.create_index("ix_artifacts_uri", "artifacts", ["uri_key"])
    _create(
        "metric_blobs",
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("task_path", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("kind", CleanText(), nullable=False),
        sa.Column("content", JsonText, nullable=True),
        sa.UniqueConstraint("run", "task_path", "name", "kind"),
    )
    _create(
        "metrics",
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("key", CleanText(), nullable=False),
        sa.Column("task_path", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("step", BigId, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.UniqueConstraint("run", "key", "step"),
    )
    op.create_index("ix_metrics_value", "metrics", ["key", "value", "run"])
    _create(
        "tasks",
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("task_id", CleanText(), nullable=False),
        sa.Column("name", CleanText(), nullable=False),
        sa.Column("path", CleanText(), nullable=False),
        sa.Column("parent_task_id", CleanText(), nullable=True),
        sa.Column("state", CleanText(), nullable=False),
        sa.Column("kind", CleanText(), nullable=True),
        sa.Column("iteration", sa.Integer(), nullable=True),
        sa.Column("cached", sa.Boolean(), nullable=False),
        sa.Column("pod_name", CleanText(), nullable=True),
        sa.Column("execution_id", BigId, nullable=True),
        sa.Column("created_at", UtcTime(), nullable=True),
        sa.Column("started_at", UtcTime(), nullable=True),
        sa.Column("finished_at", UtcTime(), nullable=True),
        sa.Column("error", JsonText, nullable=True),
        sa.Column("inputs", JsonText, nullable=False),
        sa.Column("outputs", JsonText, nullable=False),
        sa.UniqueConstraint("run", "task_id"),
    )
    _create(
        "artifact_uses",
        sa.Column("artifact", BigId, sa.ForeignKey("artifacts.id"), nullable=False),
        sa.Column("run", BigId, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("task", BigId, sa.ForeignKey("tasks.id"), nullable=False),
        sa.Column("direction", CleanText(), nullable=False),
        sa.Column("key", CleanText(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.UniqueConstraint(
            *("run", "task", "direction", "key", "position", "artifact"), name="uq_artifact_uses_edge"
        ),
    )
    op.create_index("ix_artifact_uses_artifact", "artifact_uses", ["artifact"])
