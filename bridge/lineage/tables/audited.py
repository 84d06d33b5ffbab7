"""The audit log, its chain, and legal holds."""

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
    optional_time,
    optional_uid,
    surrogate,
    text_column,
    time_column,
)


class AuditRow(Row, table=True):
    """Who did what, when; ``before`` and ``after`` are what it changed. Triggers refuse to change a row."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_run", "run_id"),)

    id: int | None = surrogate()
    time: datetime = time_column()
    actor: str = text_column("")
    action: str = text_column()
    run_id: UUID | None = optional_uid()
    data: Any = json_column()
    before: Any = optional_json()
    after: Any = optional_json()


class AuditEntryRow(Row, table=True):
    """An entry of the chain: ``hash`` is over the row ``audit`` and ``previous``, the hash before it."""

    __tablename__ = "audit_chain"
    __table_args__ = (UniqueConstraint("audit"),)

    number: int = Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False})
    audit: int = Field(sa_type=BigId)
    previous: str = text_column()
    hash: str = text_column()


class AuditWaitingRow(Row, table=True):
    """A row of the audit log that has no entry yet; a trigger notes it."""

    __tablename__ = "audit_waiting"

    audit: int = Field(primary_key=True, sa_type=BigId, sa_column_kwargs={"autoincrement": False})


class LegalHoldRow(Row, table=True):
    """What must not be removed: a run, a project, or everything (neither is named)."""

    __tablename__ = "legal_holds"
    __table_args__ = (Index("ix_legal_holds_run", "run_id"),)

    id: int | None = surrogate()
    run_id: UUID | None = optional_uid()
    reason: str = text_column()
    since: datetime = time_column()
    released_at: datetime | None = optional_time()
