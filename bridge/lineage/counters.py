"""Numbers that only grow, given out to one transaction at a time."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlmodel import Session

from bridge.lineage.bulk import insert_new
from bridge.lineage.tables import COUNTERS


def last_of(session: Session, name: str) -> int:
    """The newest number given out, 0 before the first."""
    return session.scalars(select(COUNTERS.c.value).where(COUNTERS.c.name == name)).first() or 0


def locked(session: Session, name: str) -> int:
    """The same, and until the transaction ends nobody else gives one out."""
    counter = select(COUNTERS.c.value).where(COUNTERS.c.name == name).with_for_update()
    value: int | None = session.scalars(counter).first()
    if value is None:
        insert_new(session, COUNTERS, [{"name": name, "value": 0, "backend": "", "project": ""}])
        value = session.scalars(counter).one()
    return value


def advance(session: Session, name: str, value: int) -> None:
    """Numbers up to ``value`` are given out."""
    session.execute(update(COUNTERS).where(COUNTERS.c.name == name).values(value=value))
