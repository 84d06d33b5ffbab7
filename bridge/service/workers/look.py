"""Asks a backend about one run, now, and records what it says: what a hint from elsewhere is good for."""

from __future__ import annotations

import logging
from uuid import UUID

from sqlmodel import Session

from bridge.domain.states import RuntimeState
from bridge.kfp_api.errors import KfpNotFound
from bridge.lineage import runs
from bridge.lineage.database import now as database_now
from bridge.service.backends import Backend
from bridge.service.context import Context
from bridge.service.workers.record import Recorded, observation_of, record

log = logging.getLogger(__name__)


async def look_at(context: Context, backend: Backend, kfp_run_id: UUID) -> RuntimeState | None:
    """The state the backend tells, recorded as a sweep would; ``None`` if it does not know the run.

    A run that is missing is left to the sweeps, which ask twice: a hint may come before the row. One that
    the bridge does not know brings the next sweep forward, which takes it in. Raises ``KfpError``.
    """
    asked_at = await context.store.read(database_now)
    try:
        told = await backend.client.get_run(kfp_run_id)
    except KfpNotFound:
        return None
    seen = observation_of(told, asked_at=asked_at)
    if seen is None:
        return None

    def write(session: Session) -> Recorded | None:
        run = runs.get_by_kfp_id(session, backend.name, [kfp_run_id]).get(kfp_run_id)
        if run is None:
            return None
        return record(session, run, seen, database_now(session), backend.policy)

    recorded = await context.store.transact(write, repeatable=True)
    if recorded is None:
        context.wakeups.track(backend.name).ring()
    elif recorded.changed:
        context.store.announce(recorded.changed)
        context.ring_after(recorded.changed)
        facts = {"run_id": recorded.run.run_id, "kfp_run_id": kfp_run_id, "state": recorded.run.state}
        log.info("run changed, as the watch hinted", extra=facts)
    return seen.state
