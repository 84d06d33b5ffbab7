"""Claims on runs with fencing, and leases on what only one process may do. Database time only.

A claim gives a worker one duty of a run for ``lease_seconds`` and a fence, a number that grows with
each claim. A worker that was frozen past its lease still has its old number, and whatever it writes
with it is refused. While a run is claimed, its due time is empty; what others set in it meanwhile is a
wish to look again, and giving the claim back never loses it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update
from sqlmodel import Session

from bridge.domain.states import RunPhase
from bridge.lineage.bulk import changed_rows, in_pieces, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.convert import run_from_row
from bridge.lineage.duties import sooner
from bridge.lineage.errors import FencedOut, HeldByAnother
from bridge.lineage.records import Claim, Duty, Fence, NamedLease
from bridge.lineage.tables import DUTIES, LEASES, QUARANTINE, RUNS

DATABASE_LEASE = "this database"
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


def claim(
    session: Session,
    *,
    worker: str,
    duty: Duty = Duty.FOLLOW,
    phases: Collection[RunPhase] = (),
    backend: str | None = None,
    limit: int = 50,
    lease_seconds: float = 60.0,
) -> list[Claim]:
    """Claim runs whose duty is due and that nobody holds, the longest due first.

    Several workers never get the same run while the lease lasts; a lease that ran out is claimed
    like a due one. ``phases`` and ``backend`` narrow. One statement picks and claims: rows locked by
    another transaction are passed over (PostgreSQL), or the database is ours alone (SQLite).
    """
    picked = (
        select(DUTIES.c.id)
        .where(DUTIES.c.duty == duty.value, _claimable(), _not_set_aside(duty))
        .order_by(func.coalesce(DUTIES.c.due_at, DUTIES.c.lease_until))
        .limit(limit)
    )
    if backend is not None:
        picked = picked.where(DUTIES.c.backend == backend)
    if phases:
        picked = picked.join(RUNS, RUNS.c.id == DUTIES.c.run).where(
            RUNS.c.phase.in_([p.value for p in phases])
        )
    # A CTE that locks is computed once; a plain subquery could be computed again for each row.
    chosen = picked.with_for_update(skip_locked=True, of=DUTIES).cte("picked")
    claimed = session.execute(
        update(DUTIES)
        .where(DUTIES.c.id.in_(select(chosen.c.id)))
        .values(
            holder=worker,
            lease_until=database_time(lease_seconds),
            due_at=None,
            fence=DUTIES.c.fence + 1,
        )
        .returning(DUTIES.c.run, DUTIES.c.fence, DUTIES.c.lease_until, DUTIES.c.failures)
    ).all()
    if not claimed:
        return []
    rows = session.execute(select(RUNS).where(RUNS.c.id.in_([row.run for row in claimed]))).mappings()
    runs = {row["id"]: run_from_row(row) for row in rows}
    return [
        Claim(
            run=runs[row.run],
            fence=Fence(duty, row.fence),
            worker=worker,
            lease_until=row.lease_until,
            failures=row.failures,
        )
        for row in claimed
    ]


def _claimable() -> ColumnElement[bool]:
    return or_(
        and_(DUTIES.c.lease_until.is_(None), DUTIES.c.due_at <= database_time()),
        DUTIES.c.lease_until <= database_time(),
    )


def _not_set_aside(duty: Duty) -> ColumnElement[bool]:
    # The table is all but empty: it is read once for the whole statement.
    aside = select(QUARANTINE.c.run).where(QUARANTINE.c.work == duty.value, QUARANTINE.c.run.is_not(None))
    return DUTIES.c.run.not_in(aside)


def release(session: Session, claim: Claim, *, due_at: datetime | None = None, failures: int = 0) -> bool:
    """Give a claim back and say when to look again (``None``: not until something asks for it).

    Whatever time was set while the claim was held, by its holder or by anybody, stays if it is sooner.
    ``failures`` is what the next claim is told. ``False`` if the claim was lost meanwhile.
    """
    statement = (
        update(DUTIES)
        .where(_held(claim))
        .values(holder=None, lease_until=None, due_at=sooner(due_at), failures=failures)
    )
    return changed_rows(session, statement) > 0


def release_all(session: Session, duty: Duty, runs: Collection[int]) -> None:
    """As ``release`` for claims that this transaction found to be held (``newest_fences``), by their runs'
    surrogate keys."""
    for piece in in_pieces(sorted(runs)):
        session.execute(
            update(DUTIES)
            .where(DUTIES.c.duty == duty.value, DUTIES.c.run.in_(piece))
            .values(holder=None, lease_until=None, failures=0)
        )


def extend(session: Session, claim: Claim, lease_seconds: float) -> Claim:
    """Hold the claim for that long from now. Raises ``FencedOut`` if it was lost or given back."""
    until = session.scalars(
        update(DUTIES)
        .where(_held(claim), DUTIES.c.lease_until.is_not(None))
        .values(lease_until=database_time(lease_seconds))
        .returning(DUTIES.c.lease_until)
    ).first()
    if until is None:
        raise FencedOut(claim.run.run_id, claim.fence.duty.value, claim.fence.number)
    return Claim(
        run=claim.run, fence=claim.fence, worker=claim.worker, lease_until=until, failures=claim.failures
    )


def _held(claim: Claim) -> ColumnElement[bool]:
    run = select(RUNS.c.id).where(RUNS.c.run_id == claim.run.run_id).scalar_subquery()
    return and_(
        DUTIES.c.run == run,
        DUTIES.c.duty == claim.fence.duty.value,
        DUTIES.c.fence == claim.fence.number,
    )


def backlog(session: Session, duty: Duty, backend: str | None = None) -> int:
    """How many runs are due for the duty now, or are being worked on."""
    statement = select(func.count()).where(
        DUTIES.c.duty == duty.value,
        or_(DUTIES.c.due_at <= database_time(), DUTIES.c.lease_until.is_not(None)),
    )
    if backend is not None:
        statement = statement.where(DUTIES.c.backend == backend)
    return session.scalars(statement).one()


def next_due(session: Session, duty: Duty, backend: str | None = None) -> datetime | None:
    """When the next duty that nobody holds falls due; ``None`` if none is planned."""
    statement = select(func.min(DUTIES.c.due_at)).where(
        DUTIES.c.duty == duty.value, DUTIES.c.lease_until.is_(None), DUTIES.c.due_at.is_not(None)
    )
    if backend is not None:
        statement = statement.where(DUTIES.c.backend == backend)
    return session.scalars(statement).first()


def take_lease(session: Session, name: str, *, holder: str, lease_seconds: float) -> NamedLease | None:
    """Take or extend a named lease; ``None`` while another holder has it.

    ``fence`` grows each time the holder changes.
    """
    insert_new(
        session,
        LEASES,
        [{"name": name, "holder": "", "until": _LONG_AGO, "fence": 0}],
    )
    row = session.execute(
        update(LEASES)
        .where(
            LEASES.c.name == name,
            or_(LEASES.c.holder == holder, LEASES.c.until <= database_time()),
        )
        .values(
            fence=case((LEASES.c.holder == holder, LEASES.c.fence), else_=LEASES.c.fence + 1),
            holder=holder,
            until=database_time(lease_seconds),
        )
        .returning(LEASES.c.until, LEASES.c.fence)
    ).first()
    return None if row is None else NamedLease(name=name, holder=holder, until=row.until, fence=row.fence)


def drop_lease(session: Session, name: str, *, holder: str) -> None:
    """Give a named lease back; nothing happens if another has it."""
    session.execute(
        update(LEASES).where(LEASES.c.name == name, LEASES.c.holder == holder).values(until=database_time())
    )


def take_database(session: Session, *, holder: str, lease_seconds: float) -> None:
    """Be the one bridge process of a SQLite database, for that long; nothing to do on PostgreSQL.

    Call again to extend. Claims and leases of earlier holders end with it. ``holder`` should tell a
    person which process it is (host, pid). Raises ``HeldByAnother``, which names the holder.
    """
    if session.get_bind().dialect.name != "sqlite":
        return
    if take_lease(session, DATABASE_LEASE, holder=holder, lease_seconds=lease_seconds) is None:
        other = session.execute(select(LEASES).where(LEASES.c.name == DATABASE_LEASE)).one()
        raise HeldByAnother(DATABASE_LEASE, other.holder, other.until)
    _end_leases_of_others(session, holder)


def _end_leases_of_others(session: Session, holder: str) -> None:
    """What the only process does not hold, a dead one held: nobody needs to wait until that runs out."""
    now = database_time()
    others = and_(DUTIES.c.lease_until.is_not(None), DUTIES.c.holder != holder)
    session.execute(update(DUTIES).where(others).values(lease_until=now))
    session.execute(update(LEASES).where(LEASES.c.holder != holder, LEASES.c.until > now).values(until=now))


def drop_database(session: Session, *, holder: str) -> None:
    """Let the next process take the SQLite database at once."""
    drop_lease(session, DATABASE_LEASE, holder=holder)
