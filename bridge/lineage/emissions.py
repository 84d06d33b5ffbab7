"""What the OpenLineage consumer is owed and was told.

The numbered outbox says which runs have news; a stored cursor says how far it was looked at. Each of those
runs is then due, as a duty of its own, until everything that is owed of it was taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, or_, select, update
from sqlmodel import Session

from bridge.domain.emission import RUN, EventType, RunFacts, Told
from bridge.lineage import outbox, reading
from bridge.lineage.bulk import in_pieces, insert_new, upsert
from bridge.lineage.columns import database_time
from bridge.lineage.convert import run_from_row
from bridge.lineage.datasets import inputs_of
from bridge.lineage.duties import check_fence, sooner
from bridge.lineage.records import Claim, Duty
from bridge.lineage.tables import COUNTERS, DUTIES, EMISSIONS, QUARANTINE, RUNS

_CURSOR = "openlineage"
_MAX_ERROR_CHARS = 1000
_KEY = ("run", "subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmissionBacklog:
    """How far a consumer is behind: ``unread`` events of the outbox, ``waiting`` runs of which it is owed
    something, ``dead`` ones that were given up; since when it takes nothing of some run, and why."""

    unread: int
    waiting: int
    dead: int
    failing_since: datetime | None = None
    last_error: str | None = None


def note_news(session: Session, limit: int = 1000) -> int:
    """Make the runs due that newly numbered events tell of; how many events were looked at.

    The first call of all begins with what comes after it. Callers at the same time wait for each other.
    """
    reached = _locked_cursor(session)
    events = outbox.events_after(session, reached, limit)
    if not events:
        return 0
    _make_due(session, {event.run_id for event in events if event.run_id is not None})
    session.execute(update(COUNTERS).where(COUNTERS.c.name == _CURSOR).values(value=events[-1].number))
    return len(events)


def _locked_cursor(session: Session) -> int:
    cursor = select(COUNTERS.c.value).where(COUNTERS.c.name == _CURSOR).with_for_update()
    value: int | None = session.scalars(cursor).first()
    if value is None:
        newest = outbox.last_number(session)
        insert_new(session, COUNTERS, [{"name": _CURSOR, "value": newest, "backend": "", "project": ""}])
        value = session.scalars(cursor).one()
    return value


def _make_due(session: Session, run_ids: Collection[UUID]) -> None:
    for piece in in_pieces(sorted(run_ids)):
        found = session.execute(
            select(RUNS.c.id, RUNS.c.backend, RUNS.c.project)
            .where(RUNS.c.run_id.in_(piece))
            .order_by(RUNS.c.id)
        ).all()
        rows = [
            {"run": row.id, "duty": Duty.EMIT.value, "backend": row.backend, "project": row.project}
            for row in found
        ]
        insert_new(session, DUTIES, rows)
        session.execute(
            update(DUTIES)
            .where(DUTIES.c.duty == Duty.EMIT.value, DUTIES.c.run.in_([row.id for row in found]))
            .values(due_at=sooner(database_time()))
        )


def facts_of(session: Session, run_id: UUID) -> tuple[RunFacts, dict[str, Told]] | None:
    """What is known of a run and what was told of it; ``None`` if there is no such run."""
    row = session.execute(select(RUNS).where(RUNS.c.run_id == run_id)).mappings().first()
    if row is None:
        return None
    facts = RunFacts(
        run=run_from_row(row),
        tasks=reading.tasks_of(session, run_id),
        artifacts=reading.artifacts_of(session, run_id),
        metrics=reading.metrics_of(session, run_id),
        inputs=inputs_of(session, run_id),
    )
    told = session.execute(select(EMISSIONS).where(EMISSIONS.c.run == row["id"])).mappings()
    return facts, {
        one["subject"]: Told(
            event=EventType(one["event"]),
            attempt=one["attempt"],
            ended_at=one["ended_at"],
            whole=one["whole"],
        )
        for one in told
        if one["event"]
    }


def record_told(session: Session, claim: Claim, told: Mapping[str, Told]) -> None:
    """Remember what was taken, by subject. Raises ``FencedOut`` when the claim is not the newest."""
    key = _run_key(session, claim)
    rows = [
        {
            "backend": claim.run.backend,
            "project": claim.run.project,
            "run": key,
            "subject": subject,
            "event": one.event.value,
            "attempt": one.attempt,
            "ended_at": one.ended_at,
            "whole": one.whole,
        }
        for subject, one in told.items()
    ]
    upsert(session, EMISSIONS, rows, key=_KEY)


def note_trouble(session: Session, claim: Claim, error: str | None) -> float:
    """Remember that the consumer did not take what the run owes, and why; ``None``: that it did.

    How many seconds that has been so. Raises ``FencedOut`` when the claim is not the newest.
    """
    key = _run_key(session, claim)
    its_own = (EMISSIONS.c.run == key, EMISSIONS.c.subject == RUN)
    if error is None:
        quiet = update(EMISSIONS).where(*its_own, EMISSIONS.c.failing_since.is_not(None))
        session.execute(quiet.values(failing_since=None, error=None))
        return 0.0
    row = {"backend": claim.run.backend, "project": claim.run.project, "run": key, "subject": RUN}
    insert_new(session, EMISSIONS, [{**row, "event": "", "attempt": 1, "ended_at": None, "whole": False}])
    session.execute(
        update(EMISSIONS)
        .where(*its_own)
        .values(
            failing_since=func.coalesce(EMISSIONS.c.failing_since, database_time()),
            error=error[:_MAX_ERROR_CHARS],
        )
    )
    since, now = session.execute(select(EMISSIONS.c.failing_since, database_time()).where(*its_own)).one()
    return float((now - since).total_seconds())


def backlog(session: Session) -> EmissionBacklog:
    """How far the consumer is behind."""
    reached = session.scalars(select(COUNTERS.c.value).where(COUNTERS.c.name == _CURSOR)).first()
    newest = outbox.last_number(session)
    aside = select(QUARANTINE.c.run).where(
        QUARANTINE.c.work == Duty.EMIT.value, QUARANTINE.c.run.is_not(None)
    )
    owed = or_(DUTIES.c.due_at.is_not(None), DUTIES.c.lease_until.is_not(None))
    waiting = select(func.count()).where(DUTIES.c.duty == Duty.EMIT.value, owed, DUTIES.c.run.not_in(aside))
    dead = select(func.count()).select_from(QUARANTINE).where(QUARANTINE.c.work == Duty.EMIT.value)
    first = (
        select(EMISSIONS.c.failing_since, EMISSIONS.c.error)
        .where(EMISSIONS.c.failing_since.is_not(None))
        .order_by(EMISSIONS.c.failing_since)
        .limit(1)
    )
    trouble = session.execute(first).first()
    return EmissionBacklog(
        unread=0 if reached is None else newest - reached,
        waiting=session.scalars(waiting).one(),
        dead=session.scalars(dead).one(),
        failing_since=trouble.failing_since if trouble else None,
        last_error=trouble.error if trouble else None,
    )


def _run_key(session: Session, claim: Claim) -> int:
    key: int = session.scalars(select(RUNS.c.id).where(RUNS.c.run_id == claim.run.run_id)).one()
    check_fence(session, key, claim.run.run_id, claim.fence)
    return key
