"""What is remembered of backends: watermarks, sweeps, staleness."""

from __future__ import annotations

from typing import Any, Unpack

from sqlalchemy import RowMapping, and_, select, update
from sqlmodel import Session

from bridge.lineage.bulk import insert_new
from bridge.lineage.records import BackendChanges, BackendState
from bridge.lineage.tables import BACKEND_STATE


def backend_state(session: Session, backend: str, namespace: str = "") -> BackendState:
    """What is remembered of a backend's namespace; an empty state if nothing is."""
    row = session.execute(select(BACKEND_STATE).where(_is(backend, namespace))).mappings().first()
    return BackendState(backend=backend, namespace=namespace) if row is None else _from_row(row)


def change_backend_state(
    session: Session, backend: str, namespace: str = "", **changes: Unpack[BackendChanges]
) -> BackendState:
    """Remember; only what is given changes."""
    insert_new(session, BACKEND_STATE, [{"backend": backend, "namespace": namespace}])
    if changes:
        session.execute(update(BACKEND_STATE).where(_is(backend, namespace)).values(**changes))
    return backend_state(session, backend, namespace)


def all_backend_states(session: Session) -> list[BackendState]:
    """Every remembered state, by backend and namespace."""
    statement = select(BACKEND_STATE).order_by(BACKEND_STATE.c.backend, BACKEND_STATE.c.namespace)
    return [_from_row(row) for row in session.execute(statement).mappings()]


def _is(backend: str, namespace: str) -> Any:
    return and_(BACKEND_STATE.c.backend == backend, BACKEND_STATE.c.namespace == namespace)


def _from_row(row: RowMapping) -> BackendState:
    return BackendState(**{name: value for name, value in row.items() if name not in ("id", "project")})
