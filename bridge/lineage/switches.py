"""Whether runs are sent to a backend: a switch that a person sets, kept until it is set back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import RowMapping, delete, literal, select, text, update
from sqlmodel import Session

from bridge.domain.states import RunPhase
from bridge.lineage import audit, outbox
from bridge.lineage.bulk import changed_rows, insert_new
from bridge.lineage.columns import database_time
from bridge.lineage.engine import lock_name
from bridge.lineage.records import Switch
from bridge.lineage.tables import BACKEND_SWITCHES, RUNS
from bridge.lineage.tables.running import OPEN_PHASES

_MAX_REASON_CHARS = 500
# The class of the advisory locks of switches.
_SWITCH_LOCK = 0x6B66_7377


def switches(session: Session) -> dict[str, Switch]:
    """The backends that nothing new is sent to, by name."""
    rows = session.execute(select(BACKEND_SWITCHES)).mappings()
    return {row["backend"]: _from_row(row) for row in rows}


def switch_of(session: Session, backend: str) -> Switch | None:
    """How the backend's switch is set; ``None``: runs are sent."""
    row = session.execute(select(BACKEND_SWITCHES).where(_is(backend))).mappings().first()
    return None if row is None else _from_row(row)


def is_paused(session: Session, backend: str) -> bool:
    """Whether nothing new may be sent to the backend."""
    return session.execute(select(literal(1)).where(_is(backend))).first() is not None


def may_send(session: Session, backend: str) -> bool:
    """As not ``is_paused``, for the transaction that writes down a run as being sent: whoever pauses the
    backend waits for it, so that a drain sees every run that is under way."""
    lock_name(session, _SWITCH_LOCK, backend, shared=True)
    return not is_paused(session, backend)


def pause(
    session: Session, backend: str, *, draining: bool = False, reason: str | None = None, actor: str = ""
) -> Switch:
    """Send nothing new to the backend from now on. Of one that is paused already, ``since`` stays.

    A drain begins anew each time it is asked for: its end is told once more.
    """
    lock_name(session, _SWITCH_LOCK, backend)
    before = _state(switch_of(session, backend))
    row = {
        "backend": backend,
        "project": "",
        "draining": draining,
        "reason": None,
        "since": session.execute(select(database_time())).scalar_one(),
        "drained_at": None,
    }
    insert_new(session, BACKEND_SWITCHES, [row])
    kept = None if reason is None else reason[:_MAX_REASON_CHARS]
    session.execute(
        update(BACKEND_SWITCHES).where(_is(backend)).values(draining=draining, reason=kept, drained_at=None)
    )
    found = switch_of(session, backend)
    assert found is not None, "it was just set"
    told = {"draining": draining, "reason": kept}
    change = {"before": before, "after": _state(found)}
    _tell(session, ("backend.pause", "backend.paused"), backend, told, actor=actor, **change)
    return found


def resume(session: Session, backend: str, *, actor: str = "") -> bool:
    """Send to the backend again; ``False`` if it was not paused."""
    before = _state(switch_of(session, backend))
    if not changed_rows(session, delete(BACKEND_SWITCHES).where(_is(backend))):
        return False
    change = {"before": before, "after": _state(None)}
    _tell(session, ("backend.resume", "backend.resumed"), backend, {}, actor=actor, **change)
    return True


def note_drained(session: Session, backend: str) -> bool:
    """If the backend is to be drained and nothing is under way there any more, say so, once."""
    switch = switch_of(session, backend)
    if switch is None or not switch.draining or switch.drained_at is not None:
        return False
    if _is_busy(session, backend):
        return False
    noted = changed_rows(
        session,
        update(BACKEND_SWITCHES)
        .where(_is(backend), BACKEND_SWITCHES.c.draining, BACKEND_SWITCHES.c.drained_at.is_(None))
        .values(drained_at=database_time()),
    )
    if noted:
        outbox.append(session, "backend.drained", None, {"backend": backend}, backend=backend)
    return noted > 0


def _is_busy(session: Session, backend: str) -> bool:
    """Whether anything runs there, whoever started it, or may have been sent there."""
    under_way = RUNS.c.phase.in_([RunPhase.SUBMITTING.value, RunPhase.ACTIVE.value])
    statement = select(literal(1)).where(RUNS.c.backend == backend, text(OPEN_PHASES), under_way).limit(1)
    return session.execute(statement).first() is not None


def _state(switch: Switch | None) -> dict[str, Any]:
    return {"paused": switch is not None, "draining": switch is not None and switch.draining}


def _tell(
    session: Session,
    names: tuple[str, str],
    backend: str,
    data: dict[str, Any],
    *,
    actor: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    action, event = names
    audit.record(session, action, actor=actor, data=data, before=before, after=after, backend=backend)
    outbox.append(session, event, None, {"backend": backend, **data}, backend=backend)


def _is(backend: str) -> Any:
    return BACKEND_SWITCHES.c.backend == backend


def _from_row(row: RowMapping) -> Switch:
    return Switch(**{name: row[name] for name in ("backend", "draining", "since", "reason", "drained_at")})
