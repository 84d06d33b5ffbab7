"""Events and kept logs that are old enough to be forgotten; see ``retention`` for runs."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, tuple_, update
from sqlmodel import Session

from bridge.domain.states import RunPhase
from bridge.lineage.bulk import changed_rows
from bridge.lineage.engine import may_write
from bridge.lineage.holds import event_is_held, held_runs
from bridge.lineage.retention import Place
from bridge.lineage.tables import (
    COUNTERS,
    OUTBOX,
    RUNS,
    TASK_CAUSES,
    TASKS,
    WEBHOOK_DELIVERIES,
    WEBHOOKS,
)

_OVER = [phase.value for phase in RunPhase if phase.is_over]


def old_events(
    session: Session,
    before: datetime,
    after: int,
    *,
    readers: Collection[str] = ("usage",),
    limit: int = 1000,
) -> tuple[list[int], int | None]:
    """The next events written before that which everybody has read, by their row, and the row to go on
    after (``None``: there are no more). Those that are held stay.

    ``readers`` are the counters of who reads the outbox inside of the bridge; webhooks read it too.
    """
    rows = session.execute(
        select(OUTBOX.c.id, OUTBOX.c.number, event_is_held().label("held"))
        .where(OUTBOX.c.id > after, OUTBOX.c.time < before, OUTBOX.c.number <= _read_by_all(session, readers))
        .order_by(OUTBOX.c.id)
        .limit(limit)
    ).all()
    owed = _owed(session, [row.number for row in rows])
    going = [row.id for row in rows if row.number not in owed and not row.held]
    return going, rows[-1].id if len(rows) == limit else None


def remove_events(session: Session, rows: Collection[int]) -> int:
    """Take these events away; how many were. What nobody reads any more is never owed again."""
    return changed_rows(session, delete(OUTBOX).where(OUTBOX.c.id.in_(rows)))


def _read_by_all(session: Session, readers: Collection[str]) -> int:
    """The last number that all of them have passed."""
    numbers = list(session.scalars(select(COUNTERS.c.value).where(COUNTERS.c.name.in_(readers))))
    numbers += session.scalars(select(WEBHOOKS.c.reached))
    last = session.scalars(select(func.max(OUTBOX.c.number))).one()
    return min(numbers, default=last or 0)


def _owed(session: Session, numbers: Collection[int]) -> set[int]:
    # By webhook first, as the index is.
    hooks = select(WEBHOOKS.c.id)
    found = select(WEBHOOK_DELIVERIES.c.number).where(
        WEBHOOK_DELIVERIES.c.webhook.in_(hooks), WEBHOOK_DELIVERIES.c.number.in_(numbers)
    )
    return set(session.scalars(found))


def old_logs(
    session: Session,
    before: datetime,
    after: Place | None,
    *,
    limit: int = 100,
) -> tuple[list[int], Place | None]:
    """Of the next page of runs with an error that ended before that, those that keep lines of a log with it;
    and where the next page begins. In a transaction that writes nobody else changes them until it ends."""
    statement = (
        select(RUNS.c.id, RUNS.c.run_id, RUNS.c.finished_at, RUNS.c.error)
        .where(RUNS.c.finished_at < before, RUNS.c.error.is_not(None), RUNS.c.phase.in_(_OVER))
        .order_by(RUNS.c.finished_at, RUNS.c.run_id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(tuple_(RUNS.c.finished_at, RUNS.c.run_id) > after)
    if may_write(session):
        statement = statement.with_for_update()
    rows = session.execute(statement).all()
    held = held_runs(session, [row.run_id for row in rows])
    going = [row.id for row in rows if row.run_id not in held and _has_log(row.error)]
    return going, (rows[-1].finished_at, rows[-1].run_id) if len(rows) == limit else None


def forget_logs(session: Session, runs: Collection[int]) -> int:
    """Forget the lines of logs that are kept with these runs, their tasks and causes; of how many. What the
    causes and the errors say stays."""
    for table, column in ((RUNS, RUNS.c.id), (TASKS, TASKS.c.run)):
        rows = session.execute(
            select(table.c.id, table.c.error).where(column.in_(runs), table.c.error.is_not(None))
        )
        for row in rows.all():
            if _has_log(row.error):
                session.execute(
                    update(table).where(table.c.id == row.id).values(error=row.error | {"log_tail": []})
                )
    session.execute(update(TASK_CAUSES).where(TASK_CAUSES.c.run.in_(runs)).values(evidence=[]))
    return len(runs)


def _has_log(error: Any) -> bool:
    return isinstance(error, dict) and bool(error.get("log_tail"))
