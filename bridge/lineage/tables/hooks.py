"""Webhooks and the messages that are owed to them; what the OpenLineage consumer was told."""

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
    optional_text,
    optional_time,
    reference,
    surrogate,
    text_column,
    time_column,
    uid_column,
)


class WebhookRow(Row, table=True):
    """An address that is told of events; ``project`` is empty if it hears of all of them.

    ``reached`` is the number of the last event that was looked at for it.
    """

    __tablename__ = "webhooks"
    __table_args__ = (UniqueConstraint("webhook_id"),)

    id: int | None = surrogate()
    webhook_id: UUID = uid_column()
    url: str = text_column()
    types: Any = json_column()
    description: str = text_column("")
    active: bool = Field(default=True)
    secret: str = text_column()
    previous_secret: str | None = optional_text()
    previous_until: datetime | None = optional_time()
    reached: int = Field(default=0, sa_type=BigId)
    created_at: datetime = time_column()
    failing_since: datetime | None = optional_time()
    last_error: str | None = optional_text()


class DeliveryRow(Row, table=True):
    """One event owed to one webhook: ``pending``, ``delivered`` or ``dead``.

    ``due_at`` is when a pending one is sent next; while it is being sent, when somebody else may.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook", "number"),
        Index(
            "ix_webhook_deliveries_due",
            "webhook",
            "due_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index("ix_webhook_deliveries_state", "webhook", "state", "id"),
    )

    id: int | None = surrogate()
    webhook: int = reference("webhooks.id")
    number: int = Field(sa_type=BigId)
    state: str = text_column("pending")
    attempts: int = Field(default=0)
    due_at: datetime | None = optional_time()
    created_at: datetime = time_column()
    tried_at: datetime | None = optional_time()
    status: int | None = Field(default=None)
    error: str | None = optional_text()


class EmissionRow(Row, table=True):
    """What the OpenLineage consumer heard last of a run (``subject`` ``''``) or of one of its tasks.

    ``event`` is the event's type, ``''`` before the first; ``attempt`` counts a task's tries; ``whole`` says
    that a run's end was told with all its metadata. ``failing_since`` and ``error`` are the run's alone:
    since when, and why, the consumer has not taken what it is owed.
    """

    __tablename__ = "emissions"
    __table_args__ = (
        UniqueConstraint("run", "subject"),
        Index(
            "ix_emissions_failing",
            "failing_since",
            postgresql_where=text("failing_since IS NOT NULL"),
            sqlite_where=text("failing_since IS NOT NULL"),
        ),
    )

    id: int | None = surrogate()
    run: int = reference("runs.id")
    subject: str = text_column("")
    event: str = text_column("")
    attempt: int = Field(default=1)
    ended_at: datetime | None = optional_time()
    whole: bool = Field(default=False)
    failing_since: datetime | None = optional_time()
    error: str | None = optional_text()
