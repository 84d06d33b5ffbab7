"""The audit log: who did what to which run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlmodel import Session

from bridge.lineage.bulk import insert_timed
from bridge.lineage.tables import AUDIT


def record(
    session: Session,
    action: str,
    *,
    actor: str = "",
    run_id: UUID | None = None,
    data: Mapping[str, Any] | None = None,
    project: str = "",
    backend: str = "",
) -> None:
    """Write down, with the transaction, that ``actor`` did ``action`` (``run.cancel``, …)."""
    row = {
        "actor": actor,
        "action": action,
        "run_id": run_id,
        "data": dict(data or {}),
        "project": project,
        "backend": backend,
    }
    insert_timed(session, AUDIT, "time", [row])
