"""What is owed to webhooks: one row per event and webhook, sent until it is taken or given up.

Any number of processes may share the work: a row that is being sent is due again only when the sender's
time is over, and a result counts only if nobody else took the row meanwhile (``attempts`` is the fence).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, and_, delete, func, select, update
from sqlmodel import Session

from bridge.domain.webhooks import wants
from bridge.lineage import outbox
from bridge.lineage.bulk import changed_rows, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.cursors import make_cursor, page_size, read_cursor
from bridge.lineage.records import Event
from bridge.lineage.tables import OUTBOX, WEBHOOK_DELIVERIES, WEBHOOKS

DeliveryState = Literal["pending", "delivered", "dead"]
_CURSOR = "deliveries"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event owed to one webhook. ``status`` is the HTTP status of the last answer, if there was one."""

    delivery_id: int
    webhook_id: UUID
    event: Event
    state: DeliveryState
    attempts: int
    due_at: datetime | None
    created_at: datetime
    tried_at: datetime | None
    status: int | None
    error: str | None


def fan_out(session: Session, limit: int = 500) -> int:
    """Write down what the newly numbered events owe to active webhooks; how many events were looked at.

    A webhook that another process is busy with is passed over.
    """
    newest = outbox.last_number(session)
    behind = (
        select(WEBHOOKS.c.id, WEBHOOKS.c.project, WEBHOOKS.c.types, WEBHOOKS.c.reached)
        .where(WEBHOOKS.c.active.is_(True), WEBHOOKS.c.reached < newest)
        .order_by(WEBHOOKS.c.id)
        .with_for_update(skip_locked=True)
    )
    looked = 0
    for hook in session.execute(behind).all():
        events = outbox.events_after(session, hook.reached, limit)
        if not events:
            continue
        owed = [event for event in events if hook.project in ("", event.project)]
        _owe(session, hook.id, [event for event in owed if wants(hook.types or (), event.type)])
        session.execute(update(WEBHOOKS).where(WEBHOOKS.c.id == hook.id).values(reached=events[-1].number))
        looked += len(events)
    return looked


def _owe(session: Session, hook: int, events: list[Event]) -> None:
    rows = [
        {
            "webhook": hook,
            "number": event.number,
            "backend": event.backend,
            "project": event.project,
            "created_at": event.time,
            # Due since it happened: what waits longest is sent first.
            "due_at": event.time,
        }
        for event in events
    ]
    insert_new(session, WEBHOOK_DELIVERIES, rows)


def claim_deliveries(
    session: Session, room: Mapping[UUID, int], *, most: int, sending_seconds: float
) -> list[Delivery]:
    """Take pending deliveries that are due, the longest due first, and count the attempt.

    ``most`` bounds how many of one webhook are sent at a time; ``room`` says of webhooks that are busy
    how many more of theirs there is room for. The sender has ``sending_seconds`` for each.
    """
    due = and_(WEBHOOK_DELIVERIES.c.state == "pending", WEBHOOK_DELIVERIES.c.due_at <= database_time())
    waiting = (
        select(WEBHOOKS.c.id, WEBHOOKS.c.webhook_id)
        .where(
            WEBHOOKS.c.active.is_(True),
            select(WEBHOOK_DELIVERIES.c.id)
            .where(WEBHOOK_DELIVERIES.c.webhook == WEBHOOKS.c.id, due)
            .exists(),
        )
        .order_by(WEBHOOKS.c.id)
    )
    keys: list[int] = []
    for hook in session.execute(waiting).all():
        places = room.get(hook.webhook_id, most)
        if places > 0:
            owed = and_(WEBHOOK_DELIVERIES.c.webhook == hook.id, due)
            keys += _claim(session, owed, places, sending_seconds)
    if not keys:
        return []
    rows = session.execute(
        _deliveries().where(WEBHOOK_DELIVERIES.c.id.in_(keys)).order_by(OUTBOX.c.number)
    ).mappings()
    return [_delivery(row) for row in rows]


def _claim(session: Session, where: ColumnElement[bool], places: int, sending_seconds: float) -> list[int]:
    picked = (
        select(WEBHOOK_DELIVERIES.c.id)
        .where(where)
        .order_by(WEBHOOK_DELIVERIES.c.due_at)
        .limit(places)
        .with_for_update(skip_locked=True)
        .cte("picked")
    )
    claimed = session.scalars(
        update(WEBHOOK_DELIVERIES)
        .where(WEBHOOK_DELIVERIES.c.id.in_(select(picked.c.id)))
        .values(
            attempts=WEBHOOK_DELIVERIES.c.attempts + 1,
            tried_at=database_time(),
            due_at=database_time(sending_seconds),
        )
        .returning(WEBHOOK_DELIVERIES.c.id)
    )
    return list(claimed)


def finish_delivery(
    session: Session,
    delivery: Delivery,
    state: DeliveryState,
    *,
    status: int | None,
    error: str | None = None,
    again_in_seconds: float = 0.0,
) -> bool:
    """Write what came of an attempt; ``False`` if another attempt has begun meanwhile."""
    statement = (
        update(WEBHOOK_DELIVERIES)
        .where(
            WEBHOOK_DELIVERIES.c.id == delivery.delivery_id,
            WEBHOOK_DELIVERIES.c.attempts == delivery.attempts,
            WEBHOOK_DELIVERIES.c.state == "pending",
        )
        .values(
            state=state,
            status=status,
            error=error,
            due_at=database_time(again_in_seconds) if state == "pending" else None,
        )
    )
    return changed_rows(session, statement) > 0


def redeliver(session: Session, webhook_id: UUID, delivery_id: int | None = None) -> int:
    """Owe dead deliveries of a webhook anew, or one delivery in whatever state; how many those were."""
    hook = select(WEBHOOKS.c.id).where(WEBHOOKS.c.webhook_id == webhook_id).scalar_subquery()
    which = (
        WEBHOOK_DELIVERIES.c.state == "dead"
        if delivery_id is None
        else WEBHOOK_DELIVERIES.c.id == delivery_id
    )
    return changed_rows(
        session,
        update(WEBHOOK_DELIVERIES)
        .where(WEBHOOK_DELIVERIES.c.webhook == hook, which)
        .values(state="pending", attempts=0, due_at=database_time()),
    )


def list_deliveries(
    session: Session,
    webhook_id: UUID,
    *,
    state: DeliveryState | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> tuple[list[Delivery], str | None]:
    """Deliveries of a webhook, newest first, and the cursor of what follows. Raises ``CursorError``."""
    size = page_size(limit)
    statement = _deliveries().where(WEBHOOKS.c.webhook_id == webhook_id)
    if state is not None:
        statement = statement.where(WEBHOOK_DELIVERIES.c.state == state)
    if cursor is not None:
        (last,) = read_cursor(_CURSOR, cursor, int)
        statement = statement.where(WEBHOOK_DELIVERIES.c.id < last)
    statement = statement.order_by(WEBHOOK_DELIVERIES.c.id.desc()).limit(size + 1)
    found = [_delivery(row) for row in session.execute(statement).mappings()]
    page = found[:size]
    return page, make_cursor(_CURSOR, str(page[-1].delivery_id)) if len(found) > size else None


def count_deliveries(session: Session, webhook_ids: Collection[UUID]) -> dict[UUID, dict[DeliveryState, int]]:
    """How many deliveries of each webhook are in each state; a webhook without any is left out."""
    statement = (
        select(WEBHOOKS.c.webhook_id, WEBHOOK_DELIVERIES.c.state, func.count())
        .join(WEBHOOKS, WEBHOOKS.c.id == WEBHOOK_DELIVERIES.c.webhook)
        .where(WEBHOOKS.c.webhook_id.in_(webhook_ids))
        .group_by(WEBHOOKS.c.webhook_id, WEBHOOK_DELIVERIES.c.state)
    )
    counts: dict[UUID, dict[DeliveryState, int]] = {}
    for webhook_id, state, count in session.execute(statement):
        counts.setdefault(webhook_id, {})[state] = count
    return counts


def forget_delivered(session: Session, older_than_seconds: float, limit: int = 1000) -> int:
    """Delete what was delivered before that; how many rows. Dead ones stay until they are sent or removed."""
    old = (
        select(WEBHOOK_DELIVERIES.c.id)
        .where(
            WEBHOOK_DELIVERIES.c.state == "delivered",
            WEBHOOK_DELIVERIES.c.tried_at < database_time(-older_than_seconds),
        )
        .limit(limit)
    )
    return changed_rows(session, delete(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.id.in_(old)))


def _deliveries() -> Any:
    return (
        select(
            WEBHOOK_DELIVERIES,
            WEBHOOKS.c.webhook_id,
            OUTBOX.c.type.label("event_type"),
            OUTBOX.c.time.label("event_time"),
            OUTBOX.c.run_id,
            OUTBOX.c.data,
        )
        .join(WEBHOOKS, WEBHOOKS.c.id == WEBHOOK_DELIVERIES.c.webhook)
        .join(OUTBOX, OUTBOX.c.number == WEBHOOK_DELIVERIES.c.number)
    )


def _delivery(row: RowMapping) -> Delivery:
    event = Event(
        number=row["number"],
        type=row["event_type"],
        time=row["event_time"],
        run_id=row["run_id"],
        project=row["project"],
        backend=row["backend"],
        data=row["data"],
    )
    return Delivery(
        delivery_id=row["id"],
        webhook_id=row["webhook_id"],
        event=event,
        state=row["state"],
        attempts=row["attempts"],
        due_at=row["due_at"],
        created_at=row["created_at"],
        tried_at=row["tried_at"],
        status=row["status"],
        error=row["error"],
    )
