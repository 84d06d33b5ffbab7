"""Legal holds: what must not be removed, whatever retention says, until the hold is released."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, RowMapping, and_, exists, insert, or_, select, update
from sqlmodel import Session

from bridge.lineage import audit
from bridge.lineage.bulk import changed_rows, in_pieces
from bridge.lineage.columns import database_time
from bridge.lineage.errors import NotStored
from bridge.lineage.tables import LEGAL_HOLDS, OUTBOX, RUNS


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A hold on a run, on all of a project (``run_id`` is ``None``), or on everything (no project either)."""

    number: int
    project: str
    run_id: UUID | None
    reason: str
    since: datetime
    released_at: datetime | None

    @property
    def subject(self) -> str:
        """What is held, in words."""
        if self.run_id is not None:
            return f"run {self.run_id}"
        return f"project {self.project}" if self.project else "everything"


def hold(
    session: Session, *, reason: str, project: str = "", run_id: UUID | None = None, actor: str = ""
) -> Hold:
    """Hold a run, a project or, where neither is given, everything. Audited. Raises ``NotStored`` for a run
    that there is not: nothing of it would be kept."""
    known = select(RUNS.c.id).where(RUNS.c.run_id == run_id)
    if run_id is not None and session.execute(known).first() is None:
        raise NotStored(f"there is no run {run_id}")
    row = {"backend": "", "project": project, "run_id": run_id, "reason": reason}
    number = session.scalars(
        insert(LEGAL_HOLDS).values(**row, since=database_time()).returning(LEGAL_HOLDS.c.id)
    ).one()
    made = _hold(session.execute(select(LEGAL_HOLDS).where(LEGAL_HOLDS.c.id == number)).mappings().one())
    _audit(session, "hold.set", made, actor)
    return made


def has_runs(session: Session, project: str) -> bool:
    """Whether there is anything in the project that a hold could be meant for."""
    return session.execute(select(RUNS.c.id).where(RUNS.c.project == project).limit(1)).first() is not None


def release(session: Session, number: int, *, actor: str = "") -> Hold | None:
    """Let what was held be removed again; ``None`` if no such hold is in force. Audited."""
    in_force = and_(LEGAL_HOLDS.c.id == number, LEGAL_HOLDS.c.released_at.is_(None))
    if not changed_rows(session, update(LEGAL_HOLDS).where(in_force).values(released_at=database_time())):
        return None
    released = _hold(session.execute(select(LEGAL_HOLDS).where(LEGAL_HOLDS.c.id == number)).mappings().one())
    _audit(session, "hold.release", released, actor)
    return released


def list_holds(session: Session, *, released: bool = False) -> list[Hold]:
    """The holds in force, or all there ever were, oldest first."""
    statement = select(LEGAL_HOLDS).order_by(LEGAL_HOLDS.c.id)
    if not released:
        statement = statement.where(LEGAL_HOLDS.c.released_at.is_(None))
    return [_hold(row) for row in session.execute(statement).mappings()]


def is_held(session: Session, *, project: str, run_id: UUID | None = None) -> bool:
    """Whether a project, or a run of it, must not be removed. Ask in the transaction that removes.

    Of a project alone: whether anything in it is held, a single run included.
    """
    whole = LEGAL_HOLDS.c.run_id.is_(None) & LEGAL_HOLDS.c.project.in_(["", project])
    if run_id is not None:
        subject = or_(whole, LEGAL_HOLDS.c.run_id == run_id)
    else:
        runs = select(RUNS.c.run_id).where(RUNS.c.project == project)
        subject = or_(whole, LEGAL_HOLDS.c.run_id.in_(runs))
    statement = select(LEGAL_HOLDS.c.id).where(LEGAL_HOLDS.c.released_at.is_(None), subject).limit(1)
    return session.execute(statement).first() is not None


def held_runs(session: Session, run_ids: Collection[UUID]) -> set[UUID]:
    """Those of some runs that must not be removed."""
    found: set[UUID] = set()
    for piece in in_pieces(list(run_ids)):
        found.update(session.scalars(select(RUNS.c.run_id).where(RUNS.c.run_id.in_(piece), run_is_held())))
    return found


def run_is_held() -> ColumnElement[bool]:
    """The same as a condition on ``runs``, for statements that choose what is removed."""
    whole = LEGAL_HOLDS.c.run_id.is_(None) & LEGAL_HOLDS.c.project.in_(["", RUNS.c.project])
    return exists(
        select(LEGAL_HOLDS.c.id)
        .where(LEGAL_HOLDS.c.released_at.is_(None), or_(LEGAL_HOLDS.c.run_id == RUNS.c.run_id, whole))
        .correlate(RUNS)
    )


def event_is_held() -> ColumnElement[bool]:
    """The same as a condition on ``outbox``: what is told of a project and of no run that is stored is held
    with the project, what is told of no project with everything."""
    whole = LEGAL_HOLDS.c.run_id.is_(None) & LEGAL_HOLDS.c.project.in_(["", OUTBOX.c.project])
    return exists(
        select(LEGAL_HOLDS.c.id)
        .where(LEGAL_HOLDS.c.released_at.is_(None), or_(LEGAL_HOLDS.c.run_id == OUTBOX.c.run_id, whole))
        .correlate(OUTBOX)
    )


def _audit(session: Session, action: str, one: Hold, actor: str) -> None:
    audit.record(
        session,
        action,
        actor=actor,
        run_id=one.run_id,
        project=one.project,
        data={"hold": one.number, "reason": one.reason},
        before={"held": action == "hold.release"},
        after={"held": action == "hold.set"},
    )


def _hold(row: RowMapping) -> Hold:
    told = {name: row[name] for name in ("project", "run_id", "reason", "since", "released_at")}
    return Hold(number=row["id"], **told)
