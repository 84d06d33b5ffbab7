"""When a run is to be looked at again, and the fences that keep a worker out whose lease is void."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, literal, or_, select, update
from sqlmodel import Session

from bridge.domain.lineage import Run
from bridge.lineage.bulk import changed_rows, in_pieces, insert_new, insert_timed
from bridge.lineage.columns import UtcTime
from bridge.lineage.errors import FencedOut
from bridge.lineage.records import Duty, Fence
from bridge.lineage.tables import DUTIES

Moment = datetime | ColumnElement[datetime] | None


def check_fence(session: Session, run: int, run_id: UUID, fence: Fence) -> None:
    """Raise ``FencedOut`` unless the claim is the newest; until the transaction ends nobody can claim."""
    newest = session.scalars(
        select(DUTIES.c.fence).where(DUTIES.c.run == run, DUTIES.c.duty == fence.duty.value).with_for_update()
    ).first()
    if newest != fence.number:
        raise FencedOut(run_id, fence.duty.value, fence.number)


def newest_fences(session: Session, duty: Duty, runs: Collection[int]) -> dict[int, int]:
    """As ``check_fence`` for many runs by surrogate key: the numbers of their newest claims."""
    newest: dict[int, int] = {}
    for piece in in_pieces(sorted(runs)):
        rows = session.execute(
            select(DUTIES.c.run, DUTIES.c.fence)
            .where(DUTIES.c.run.in_(piece), DUTIES.c.duty == duty.value)
            .order_by(DUTIES.c.id)
            .with_for_update()
        )
        newest |= {row.run: row.fence for row in rows}
    return newest


def begin_duties(
    session: Session, runs: Mapping[int, Run], duty: Duty, due_at: datetime | None, *, now: bool
) -> None:
    """Give new runs (by surrogate key) their duty, due ``now`` or at ``due_at``."""
    rows = [
        {"run": key, "duty": duty.value, "failures": 0, "backend": run.backend, "project": run.project}
        for key, run in runs.items()
    ]
    if now:
        insert_timed(session, DUTIES, "due_at", rows)
    else:
        insert_new(session, DUTIES, [row | {"due_at": due_at} for row in rows])


def set_due(
    session: Session, duty: Duty, runs: Mapping[int, Run], due_at: Moment, *, failures: int | None = None
) -> None:
    """Say when the duty of these runs (by surrogate key) is next due (``None``: not). A holder of a claim
    finds it so at the end."""
    values: dict[str, Any] = {"due_at": due_at} | ({} if failures is None else {"failures": failures})
    for piece in in_pieces(sorted(runs)):
        statement = (
            update(DUTIES).where(DUTIES.c.run.in_(piece), DUTIES.c.duty == duty.value).values(**values)
        )
        if changed_rows(session, statement) == len(piece) or (due_at is None and failures is None):
            continue
        told = [(key, runs[key]) for key in piece]
        rows = [
            {"run": key, "duty": duty.value, "backend": run.backend, "project": run.project}
            for key, run in told
        ]
        insert_new(session, DUTIES, rows)
        changed_rows(session, statement)


def sooner(due_at: Moment) -> ColumnElement[Any]:
    """SQL for the sooner of the stored time and ``due_at``; what the holder of a claim may set, since a
    stored time was asked for after its claim."""
    if due_at is None:
        return DUTIES.c.due_at
    wanted = literal(due_at, UtcTime()) if isinstance(due_at, datetime) else due_at
    return case((or_(DUTIES.c.due_at.is_(None), DUTIES.c.due_at > wanted), wanted), else_=DUTIES.c.due_at)
