"""What backends told of runs: tasks, artifacts and who used them, metrics."""

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
    optional_json,
    optional_text,
    optional_time,
    reference,
    surrogate,
    text_column,
    time_column,
    uid_column,
)


class TaskRow(Row, table=True):
    """A task of a run (its MLMD execution's id in ``execution_id``)."""

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("run", "task_id"),)

    id: int | None = surrogate()
    run: int = reference("runs.id")
    task_id: str = text_column()
    name: str = text_column()
    path: str = text_column()
    parent_task_id: str | None = optional_text()
    state: str = text_column()
    kind: str | None = optional_text()
    iteration: int | None = Field(default=None)
    cached: bool = Field(default=False)
    pod_name: str | None = optional_text()
    execution_id: int | None = Field(default=None, sa_type=BigId)
    created_at: datetime | None = optional_time()
    started_at: datetime | None = optional_time()
    finished_at: datetime | None = optional_time()
    error: Any = optional_json()
    inputs: Any = json_column()
    outputs: Any = json_column()


class TaskCauseRow(Row, table=True):
    """One thing that may be why a run's task (``''``: the run itself) failed or, if ``waiting``, what it
    waits for; ``position`` 0 is the likeliest of the run."""

    __tablename__ = "task_causes"
    __table_args__ = (UniqueConstraint("run", "task_path", "kind"),)

    id: int | None = surrogate()
    run: int = reference("runs.id")
    task_path: str = text_column()
    kind: str = text_column()
    message: str = text_column()
    weight: int = Field(default=0)
    position: int = Field(default=0)
    waiting: bool = Field(default=False)
    evidence: Any = json_column()
    first_seen_at: datetime = time_column()
    seen_at: datetime = time_column()


class ArtifactRow(Row, table=True):
    """A typed artifact. ``incarnation`` is its creation time in milliseconds since 1970, 0 if unknown:
    a metadata store that was set up anew under the same backend name counts its ids from 1 again.

    ``uri_key`` is the normalised URI (shortened if very long), the key that joins ``datasets``.
    ``content`` is NULL as long as nobody has looked whether what the URI names is there.
    """

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("artifact_id"),
        UniqueConstraint("backend", "backend_artifact_id", "incarnation"),
        Index("ix_artifacts_uri", "uri_key"),
        Index("ix_artifacts_dataset", "dataset"),
        Index("ix_artifacts_type", "type", "id"),
    )

    id: int | None = surrogate()
    artifact_id: UUID = uid_column()
    backend_artifact_id: str = text_column()
    incarnation: int = Field(default=0, sa_type=BigId)
    type: str = text_column()
    uri: str | None = optional_text()
    uri_key: str | None = optional_text()
    name: str | None = optional_text()
    digest: str | None = optional_text()
    meta: Any = json_column()
    created_at: datetime | None = optional_time()
    dataset: int | None = reference("datasets.id", nullable=True)
    content: str | None = optional_text()
    content_error: str | None = optional_text()
    content_checked_at: datetime | None = optional_time()


class ArtifactUseRow(Row, table=True):
    """An edge: a task of a run consumed or produced an artifact under a key."""

    __tablename__ = "artifact_uses"
    __table_args__ = (
        UniqueConstraint(
            *("run", "task", "direction", "key", "position", "artifact"), name="uq_artifact_uses_edge"
        ),
        Index("ix_artifact_uses_artifact", "artifact"),
        Index("ix_artifact_uses_task", "task"),
    )

    id: int | None = surrogate()
    artifact: int = reference("artifacts.id")
    run: int = reference("runs.id")
    task: int = reference("tasks.id")
    direction: str = text_column()
    key: str = text_column()
    position: int = Field(default=0)


class MetricRow(Row, table=True):
    """A scalar of a run; ``key`` is ``task_path.name``, ``created_at`` its run's, the order of listings."""

    __tablename__ = "metrics"
    __table_args__ = (
        UniqueConstraint("run", "key", "step"),
        Index("ix_metrics_value", "key", "value", "run"),
        Index("ix_metrics_newest", "key", "created_at", "run", "value"),
    )

    id: int | None = surrogate()
    run: int = reference("runs.id")
    key: str = text_column()
    task_path: str = text_column()
    name: str = text_column()
    step: int = Field(default=0, sa_type=BigId)
    value: float = Field()
    created_at: datetime | None = optional_time()


class MetricBlobRow(Row, table=True):
    """A structured metric: ROC curve, confusion matrix, text."""

    __tablename__ = "metric_blobs"
    __table_args__ = (UniqueConstraint("run", "task_path", "name", "kind"),)

    id: int | None = surrogate()
    run: int = reference("runs.id")
    task_path: str = text_column()
    name: str = text_column()
    kind: str = text_column()
    content: Any = optional_json()
