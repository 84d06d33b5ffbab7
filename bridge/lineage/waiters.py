"""Until when somebody has to be heard of who waits for a run: its duty WAITER falls due when nobody was."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, update
from sqlmodel import Session

from bridge.lineage.bulk import changed_rows
from bridge.lineage.columns import database_time
from bridge.lineage.convert import run_from_row
from bridge.lineage.duties import set_due
from bridge.lineage.errors import NotStored
from bridge.lineage.records import Duty
from bridge.lineage.tables import DUTIES, RUNS


def expect(session: Session, run_id: UUID, seconds: float) -> None:
    """Somebody waits for the run and is to be heard of within the time. Raises ``NotStored``."""
    _set(session, run_id, seconds)


def forget(session: Session, run_id: UUID) -> None:
    """Nobody needs to wait for the run any more. Raises ``NotStored``."""
    _set(session, run_id, None)


def heard(session: Session, run_ids: Collection[UUID], seconds: float) -> int:
    """Whoever waits for these runs was heard of, and is to be again within the time; for how many of them
    somebody is expected at all."""
    keys = select(RUNS.c.id).where(RUNS.c.run_id.in_(run_ids))
    return changed_rows(
        session,
        update(DUTIES)
        .where(DUTIES.c.duty == Duty.WAITER.value, DUTIES.c.due_at.is_not(None), DUTIES.c.run.in_(keys))
        .values(due_at=database_time(seconds)),
    )


def _set(session: Session, run_id: UUID, seconds: float | None) -> None:
    row = session.execute(select(RUNS).where(RUNS.c.run_id == run_id)).mappings().first()
    if row is None:
        raise NotStored(f"there is no run {run_id}")
    due_at = None if seconds is None else database_time(seconds)
    set_due(session, Duty.WAITER, {row["id"]: run_from_row(row)}, due_at)
