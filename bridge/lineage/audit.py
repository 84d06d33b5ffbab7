"""The audit log: who did what to which run, and what it changed. It is only ever added to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, select
from sqlmodel import Session

from bridge.lineage.bulk import insert_timed
from bridge.lineage.tables import AUDIT


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """A row of the audit log; ``before`` and ``after`` are what it changed, as far as it changed
    something."""

    id: int
    time: datetime
    actor: str
    action: str
    run_id: UUID | None
    project: str
    backend: str
    data: Mapping[str, Any]
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def record(
    session: Session,
    action: str,
    *,
    actor: str = "",
    run_id: UUID | None = None,
    data: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    project: str = "",
    backend: str = "",
) -> None:
    """Write down, with the transaction, that ``actor`` did ``action`` (``run.cancel``, …). No secrets."""
    told = {"data": data, "before": before, "after": after}
    row = entry(action, actor=actor, run_id=run_id, **told, project=project, backend=backend)
    record_all(session, [row])


def record_all(session: Session, entries: Sequence[Mapping[str, Any]]) -> None:
    """As ``record``, for what happens together: each made by ``entry``."""
    if entries:
        insert_timed(session, AUDIT, "time", [dict(one) for one in entries])


def entry(
    action: str,
    *,
    actor: str = "",
    run_id: UUID | None = None,
    data: Mapping[str, Any] | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    project: str = "",
    backend: str = "",
) -> dict[str, Any]:
    """A record for ``record_all``."""
    return {
        "actor": actor,
        "action": action,
        "run_id": run_id,
        "data": dict(data or {}),
        "before": None if before is None else dict(before),
        "after": None if after is None else dict(after),
        "project": project,
        "backend": backend,
    }


def newest(
    session: Session, *, limit: int, project: str | None = None, run_id: UUID | None = None
) -> list[AuditRecord]:
    """The newest records, newest first; those of one project or run if one is given."""
    statement = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(limit)
    if project is not None:
        statement = statement.where(AUDIT.c.project == project)
    if run_id is not None:
        statement = statement.where(AUDIT.c.run_id == run_id)
    return [record_of(row) for row in session.execute(statement).mappings()]


def record_of(row: RowMapping) -> AuditRecord:
    """A row of the table as a record."""
    return AuditRecord(**{name: row[name] for name in AuditRecord.__dataclass_fields__})
