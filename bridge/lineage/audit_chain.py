"""The chain over the audit log: each entry holds the hash of a row and of the entry before it.

Rows commit unchained, so that whoever writes one waits for nobody; a trigger notes them, and the sequencer
gives them their entries, one after the other. Whoever changes, removes or puts in a row afterwards, past
the triggers, breaks the chain there. Who may rewrite the whole database can rewrite the whole chain: its
head (number and hash), kept elsewhere, tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import RowMapping, and_, delete, func, select
from sqlmodel import Session

from bridge.domain.identity import canonical_json
from bridge.lineage import counters
from bridge.lineage.audit import AuditRecord, record_of
from bridge.lineage.bulk import insert_new
from bridge.lineage.tables import AUDIT, AUDIT_CHAIN, AUDIT_WAITING

_COUNTER = "audit"
_PAGE = 1000
BATCH = 500
"""How many rows get their entries together."""
_MOST_FINDINGS = 100
# A transaction that took long commits late, with the time at which it began.
_MOST_BACKWARDS = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry of a chain; number 0 if there is none."""

    number: int = 0
    hash: str = ""

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(slots=True)
class Verdict:
    """What became of the log: ``findings`` name what was changed, removed or put in, 100 at most; ``waiting``
    rows have no entry yet."""

    head: Head = field(default_factory=Head)
    waiting: int = 0
    findings: list[str] = field(default_factory=list)

    def find(self, text: str) -> None:
        """Note what is wrong."""
        if len(self.findings) < _MOST_FINDINGS:
            self.findings.append(text)


def is_owed(session: Session) -> bool:
    """Whether rows wait for their entries."""
    return session.execute(select(AUDIT_WAITING.c.audit).limit(1)).first() is not None


def head_of(session: Session) -> Head:
    """The newest entry."""
    newest = select(AUDIT_CHAIN.c.number, AUDIT_CHAIN.c.hash).order_by(AUDIT_CHAIN.c.number.desc()).limit(1)
    row = session.execute(newest).first()
    return Head() if row is None else Head(row.number, row.hash)


def extend(session: Session, limit: int = BATCH) -> int:
    """Give the rows that wait their entries, ``limit`` at most, and say how many; callers at the same time
    wait for each other. A row that was removed while it waited has one too, so that it is missed."""
    number = counters.locked(session, _COUNTER)
    waiting = select(AUDIT_WAITING.c.audit).order_by(AUDIT_WAITING.c.audit).limit(limit)
    ids = list(session.scalars(waiting))
    if not ids:
        return 0
    found = session.execute(select(AUDIT).where(AUDIT.c.id.in_(ids))).mappings()
    rows = {row["id"]: row for row in found}
    previous = session.scalars(select(AUDIT_CHAIN.c.hash).where(AUDIT_CHAIN.c.number == number)).first() or ""
    entries = []
    for row_id in ids:
        number += 1
        row = rows.get(row_id)
        digest = hash_of(number, previous, None if row is None else record_of(row))
        entries.append(
            {"number": number, "audit": row_id, "previous": previous, "hash": digest}
            | {name: "" if row is None else row[name] for name in ("backend", "project")}
        )
        previous = digest
    insert_new(session, AUDIT_CHAIN, entries)
    counters.advance(session, _COUNTER, number)
    session.execute(delete(AUDIT_WAITING).where(AUDIT_WAITING.c.audit.in_(ids)))
    return len(entries)


def hash_of(number: int, previous: str, record: AuditRecord | None) -> str:
    """The hash of an entry, in hex: SHA-256 over the canonical JSON of its number, the hash before it and the
    row, ``None`` if there is none any more."""
    row = None if record is None else asdict(record)
    if row is not None and record is not None:
        row |= {"time": record.time.isoformat(), "run_id": str(record.run_id) if record.run_id else None}
    text = canonical_json({"number": number, "previous": previous, "row": row})
    return hashlib.sha256(text.encode()).hexdigest()


def verify(session: Session, known: Head | None = None) -> Verdict:
    """Follow the chain from its beginning. ``known`` is a head of before, which has to be on it."""
    verdict = Verdict()
    # Before the entries: the chain may grow while they are read.
    last = max(counters.last_of(session, _COUNTER), known.number if known else 0)
    newest: datetime | None = None
    for row in _entries(session):
        entry = Head(row["number"], row["hash"])
        _check_place(verdict, row)
        if row["audit_id"] is None:
            verdict.find(f"row {row['audit']} (entry {entry.number}) was removed")
        else:
            record = _record_of(row)
            if hash_of(entry.number, row["previous"], record) != entry.hash:
                verdict.find(f"row {record.id} (entry {entry.number}, {record.action}) was changed")
            if newest is not None and record.time < newest - _MOST_BACKWARDS:
                verdict.find(f"row {record.id} (entry {entry.number}, {record.action}) was put in later")
            newest = record.time if newest is None else max(newest, record.time)
        if known is not None and known.number == entry.number and known.hash != entry.hash:
            verdict.find(f"entry {entry.number} is not the one that was known: the chain was written anew")
        verdict.head = entry
    _check_end(session, verdict, last)
    return verdict


def _check_place(verdict: Verdict, row: RowMapping) -> None:
    before, number = verdict.head, row["number"]
    if number != before.number + 1:
        gone = f"{before.number + 1} to {number - 1}" if number > before.number + 2 else f"{number - 1}"
        verdict.find(f"entry {gone} of the chain was removed")
    elif row["previous"] != before.hash:
        verdict.find(
            f"entry {number} (row {row['audit']}) does not follow from the one before: it was replaced"
        )


def _check_end(session: Session, verdict: Verdict, last: int) -> None:
    if last > verdict.head.number:
        verdict.find(f"entry {verdict.head.number + 1} to {last}, the end of the chain, was removed")
    verdict.waiting = session.scalars(select(func.count()).select_from(AUDIT_WAITING)).one()
    gone = (
        select(AUDIT_WAITING.c.audit)
        .outerjoin(AUDIT, AUDIT.c.id == AUDIT_WAITING.c.audit)
        .where(AUDIT.c.id.is_(None))
        .order_by(AUDIT_WAITING.c.audit)
        .limit(_MOST_FINDINGS)
    )
    for row_id in session.scalars(gone):
        verdict.find(f"row {row_id} was removed before it had an entry")
    beside = (
        select(AUDIT.c.id)
        .outerjoin(AUDIT_CHAIN, AUDIT_CHAIN.c.audit == AUDIT.c.id)
        .outerjoin(AUDIT_WAITING, AUDIT_WAITING.c.audit == AUDIT.c.id)
        .where(and_(AUDIT_CHAIN.c.audit.is_(None), AUDIT_WAITING.c.audit.is_(None)))
        .order_by(AUDIT.c.id)
        .limit(_MOST_FINDINGS)
    )
    for row_id in session.scalars(beside):
        verdict.find(f"row {row_id} was put in beside the chain")


def _entries(session: Session) -> Iterator[RowMapping]:
    columns = [AUDIT.c[name].label(f"audit_{name}") for name in AuditRecord.__dataclass_fields__]
    statement = (
        select(*AUDIT_CHAIN.c, *columns)
        .outerjoin(AUDIT, AUDIT.c.id == AUDIT_CHAIN.c.audit)
        .order_by(AUDIT_CHAIN.c.number)
        .limit(_PAGE)
    )
    reached = 0
    while rows := session.execute(statement.where(AUDIT_CHAIN.c.number > reached)).mappings().all():
        yield from rows
        reached = rows[-1]["number"]


def _record_of(row: RowMapping) -> AuditRecord:
    told: dict[str, Any] = {name: row[f"audit_{name}"] for name in AuditRecord.__dataclass_fields__}
    return AuditRecord(**told)
