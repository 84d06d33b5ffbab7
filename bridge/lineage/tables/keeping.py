"""The bridge's own bookkeeping: outbox, leases, counters, what is remembered of backends."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint, text
from sqlmodel import Field

from bridge.lineage.columns import BigId
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
)


class OutboxRow(Row, table=True):
    """An event, written with the change it tells of; ``number`` is NULL until the sequencer gives it."""

    __tablename__ = "outbox"
    __table_args__ = (
        UniqueConstraint("number"),
        Index(
            "ix_outbox_unnumbered",
            "id",
            postgresql_where=text("number IS NULL"),
            sqlite_where=text("number IS NULL"),
        ),
        Index("ix_outbox_run", "run_id", "number"),
    )

    id: int | None = surrogate()
    number: int | None = Field(default=None, sa_type=BigId)
    type: str = text_column()
    time: datetime = time_column()
    run_id: UUID | None = optional_uid()
    data: Any = json_column()


class LeaseRow(Row, table=True):
    """Something that only one process may do at a time, and which does."""

    __tablename__ = "leases"

    name: str = Field(primary_key=True)
    holder: str = text_column()
    until: datetime = time_column()
    fence: int = Field(default=0, sa_type=BigId)


class QuarantineRow(Row, table=True):
    """Work that failed again and again for a reason of its own, and is not tried until it is released.

    ``subject`` is what it was about: our run id, or the backend's name of a row that is no run of ours.
    """

    __tablename__ = "quarantine"
    __table_args__ = (UniqueConstraint("backend", "work", "subject"),)

    id: int | None = surrogate()
    work: str = text_column()
    subject: str = text_column()
    run: int | None = reference("runs.id", nullable=True)
    reason: str = text_column()
    failures: int = Field()
    since: datetime = time_column()


class CounterRow(Row, table=True):
    """A number that only grows, whatever is deleted elsewhere."""

    __tablename__ = "counters"

    name: str = Field(primary_key=True)
    value: int = Field(default=0, sa_type=BigId)


class SettingsInUseRow(Row, table=True):
    """With which settings, secrets left out, the newest process of a role was started."""

    __tablename__ = "settings_in_use"
    __table_args__ = (UniqueConstraint("role"),)

    id: int | None = surrogate()
    role: str = text_column()
    holder: str = text_column()
    started_at: datetime = time_column()
    content: Any = json_column()


class BackendStateRow(Row, table=True):
    """What is remembered of a backend's namespace; ``history`` is how far its old runs were imported."""

    __tablename__ = "backend_state"
    __table_args__ = (UniqueConstraint("backend", "namespace"),)

    id: int | None = surrogate()
    namespace: str = text_column("")
    watermark: datetime | None = optional_time()
    metadata_watermark_ms: int | None = Field(default=None, sa_type=BigId)
    last_fast_sweep_at: datetime | None = optional_time()
    last_slow_sweep_at: datetime | None = optional_time()
    last_sweep_seconds: float | None = Field(default=None)
    tick_seconds: float | None = Field(default=None)
    stale_since: datetime | None = optional_time()
    last_error: str | None = optional_text()
    facts: Any = json_column()
    history: Any = optional_json()


class BackendSwitchRow(Row, table=True):
    """A backend that nothing new is sent to; without a row it is sent to.

    ``draining``: whoever set it wants to know when nothing is under way there, which was at ``drained_at``.
    """

    __tablename__ = "backend_switches"
    __table_args__ = (UniqueConstraint("backend"),)

    id: int | None = surrogate()
    draining: bool = Field(default=False)
    reason: str | None = optional_text()
    since: datetime = time_column()
    drained_at: datetime | None = optional_time()
