"""The outbox: events commit unnumbered with the change they tell of; a sequencer numbers them.

Numbers follow the order of numbering, not of writing, so a reader that has seen number *n* has seen
everything below: a transaction that commits late gets a later number.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlmodel import Session

from bridge.lineage import counters
from bridge.lineage.bulk import changed_rows, insert_timed
from bridge.lineage.records import Event
from bridge.lineage.tables import OUTBOX

_COUNTER = "outbox"


@dataclass(frozen=True, slots=True)
class Draft:
    """An event to be written."""

    type: str
    run_id: UUID | None
    data: Mapping[str, Any]
    project: str = ""
    backend: str = ""

    def row(self) -> dict[str, Any]:
        """The columns of ``outbox``."""
        return {
            "type": self.type,
            "run_id": self.run_id,
            "data": dict(self.data),
            "project": self.project,
            "backend": self.backend,
        }


def append(
    session: Session,
    type: str,
    run_id: UUID | None,
    data: Mapping[str, Any],
    *,
    project: str = "",
    backend: str = "",
) -> None:
    """Write an event with the transaction; readers see it once it is numbered."""
    append_all(session, [Draft(type, run_id, data, project, backend)])


def append_all(session: Session, drafts: Sequence[Draft]) -> None:
    """As ``append``, several events in their order."""
    insert_timed(session, OUTBOX, "time", [draft.row() for draft in drafts])


def number_events(session: Session, limit: int = 1000) -> int:
    """Number committed events and say how many; callers at the same time wait for each other."""
    waiting = session.execute(
        select(OUTBOX.c.id).where(OUTBOX.c.number.is_(None)).order_by(OUTBOX.c.id).limit(1)
    ).first()
    if waiting is None:
        return 0
    last = counters.locked(session, _COUNTER)
    first = (
        select(OUTBOX.c.id)
        .where(OUTBOX.c.number.is_(None))
        .order_by(OUTBOX.c.id)
        .limit(limit)
        .subquery("first_waiting")
    )
    placed = select(first.c.id, func.row_number().over(order_by=first.c.id).label("place")).subquery("placed")
    numbered = changed_rows(
        session, update(OUTBOX).where(OUTBOX.c.id == placed.c.id).values(number=last + placed.c.place)
    )
    if numbered:
        counters.advance(session, _COUNTER, last + numbered)
    return numbered


def events_after(
    session: Session,
    number: int,
    limit: int = 200,
    *,
    run_id: UUID | None = None,
    projects: Collection[str] = (),
    until: int | None = None,
) -> list[Event]:
    """Numbered events after ``number`` and up to ``until``, oldest first; only those of one run, or of some
    projects, if these are given."""
    statement = select(OUTBOX).where(OUTBOX.c.number > number).order_by(OUTBOX.c.number).limit(limit)
    if run_id is not None:
        statement = statement.where(OUTBOX.c.run_id == run_id)
    if projects:
        statement = statement.where(OUTBOX.c.project.in_(projects))
    if until is not None:
        statement = statement.where(OUTBOX.c.number <= until)
    return [
        Event(
            number=row["number"],
            type=row["type"],
            time=row["time"],
            run_id=row["run_id"],
            project=row["project"],
            backend=row["backend"],
            data=row["data"],
        )
        for row in session.execute(statement).mappings()
    ]


def unnumbered(session: Session, *, most: int = 1000) -> tuple[int, datetime | None]:
    """How many committed events wait for their number (``most`` at most), and when the first was written."""
    first = select(OUTBOX.c.id).where(OUTBOX.c.number.is_(None)).order_by(OUTBOX.c.id).limit(most).subquery()
    waiting, oldest = session.execute(select(func.count(), func.min(first.c.id))).one()
    if oldest is None:
        return 0, None
    return int(waiting), session.scalars(select(OUTBOX.c.time).where(OUTBOX.c.id == oldest)).first()


def last_number(session: Session) -> int:
    """The newest number given out, 0 before the first."""
    return counters.last_of(session, _COUNTER)
