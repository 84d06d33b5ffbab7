"""Work that is set aside: it failed again and again for a reason of its own, and is not tried until it is
released. Everything else goes on without it."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlmodel import Session

from bridge.lineage.bulk import in_pieces, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.records import Duty, Quarantined
from bridge.lineage.tables import DUTIES, QUARANTINE, RUNS

MAX_LISTED = 1000
_MAX_REASON_CHARS = 2000


def set_aside(
    session: Session,
    *,
    backend: str,
    project: str,
    work: str,
    subject: str,
    reason: str,
    failures: int,
    run_id: UUID | None = None,
) -> bool:
    """Set work on the subject aside; ``False`` if it was already.

    Work named as a ``Duty`` on a run of ours is not claimed any more from now on.
    """
    run = session.scalars(select(RUNS.c.id).where(RUNS.c.run_id == run_id)).first() if run_id else None
    row = {
        "backend": backend,
        "project": project,
        "work": work,
        "subject": subject,
        "run": run,
        "reason": reason[:_MAX_REASON_CHARS],
        "failures": failures,
        "since": session.execute(select(database_time())).scalar_one(),
    }
    return insert_new(session, QUARANTINE, [row]) > 0


def listed(
    session: Session, *, backend: str | None = None, projects: Collection[str] = ()
) -> list[Quarantined]:
    """What is set aside, everywhere or of a backend or some projects, the oldest first; ``MAX_LISTED`` at
    most."""
    statement = _select().order_by(QUARANTINE.c.id).limit(MAX_LISTED)
    if backend is not None:
        statement = statement.where(QUARANTINE.c.backend == backend)
    if projects:
        statement = statement.where(QUARANTINE.c.project.in_(projects))
    return [Quarantined(**row) for row in session.execute(statement).mappings()]


def of_run(session: Session, run_id: UUID) -> list[Quarantined]:
    """What is set aside of one run."""
    statement = _select().where(RUNS.c.run_id == run_id).order_by(QUARANTINE.c.id)
    return [Quarantined(**row) for row in session.execute(statement).mappings()]


def subjects(session: Session, backend: str, work: str) -> set[str]:
    """What of one kind of a backend's work is set aside."""
    statement = select(QUARANTINE.c.subject).where(QUARANTINE.c.backend == backend, QUARANTINE.c.work == work)
    return set(session.scalars(statement))


def counts(session: Session, projects: Collection[str] = ()) -> dict[str, int]:
    """How much is set aside, of all projects or of some, by backend."""
    statement = select(QUARANTINE.c.backend, func.count()).group_by(QUARANTINE.c.backend)
    if projects:
        statement = statement.where(QUARANTINE.c.project.in_(projects))
    return {backend: int(count) for backend, count in session.execute(statement)}


def find(session: Session, number: int) -> Quarantined | None:
    """What is set aside under that number."""
    row = session.execute(_select().where(QUARANTINE.c.id == number)).mappings().first()
    return None if row is None else Quarantined(**row)


def let_go(session: Session, number: int) -> Quarantined | None:
    """Have the work tried again, at once where it is a duty; what it was, ``None`` if there is no such."""
    released = find(session, number)
    if released is None:
        return None
    run = session.scalars(select(QUARANTINE.c.run).where(QUARANTINE.c.id == number)).one()
    session.execute(delete(QUARANTINE).where(QUARANTINE.c.id == number))
    if run is not None and released.work in [duty.value for duty in Duty]:
        session.execute(
            update(DUTIES)
            .where(DUTIES.c.run == run, DUTIES.c.duty == released.work)
            .values(due_at=database_time(), failures=0)
        )
    return released


def lift(session: Session, run_ids: Collection[UUID], duty: Duty) -> None:
    """Forget that the duty was set aside: there is news of the runs, so it may be another matter now."""
    for piece in in_pieces(run_ids):
        runs = select(RUNS.c.id).where(RUNS.c.run_id.in_(piece))
        session.execute(delete(QUARANTINE).where(QUARANTINE.c.run.in_(runs), QUARANTINE.c.work == duty.value))


def _select() -> Select[tuple[object, ...]]:
    columns = QUARANTINE.c
    return select(
        columns.id.label("number"),
        columns.backend,
        columns.project,
        columns.work,
        columns.subject,
        RUNS.c.run_id,
        columns.reason,
        columns.failures,
        columns.since,
    ).join_from(QUARANTINE, RUNS, RUNS.c.id == columns.run, isouter=True)
