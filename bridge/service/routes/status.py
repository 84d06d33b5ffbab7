"""``/status``, ``/livez`` and ``/readyz``: how the service itself is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from sqlmodel import Session

from bridge.client.status import (
    BackendStatus,
    EmissionStatus,
    HistoryStatus,
    OutboxStatus,
    QueueStatus,
    StatusModel,
    SwitchModel,
    WatchStatus,
)
from bridge.domain.access import Action
from bridge.domain.history import import_from_json
from bridge.domain.redaction import without_credentials
from bridge.domain.states import RunPhase
from bridge.lineage import backends, emissions, leases, outbox, quarantine, queue, runs, switches
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import DatabaseUnavailable
from bridge.lineage.records import BackendState, Duty, Switch
from bridge.service.access.caller import Caller
from bridge.service.backends import Backend, trouble_of
from bridge.service.context import Context
from bridge.service.describing import any_content
from bridge.service.exposition import EXPOSITION_TYPE, exposition
from bridge.service.routes.common import CallerDep, ContextDep
from bridge.service.versions import package_version

_Ordered = TypeVar("_Ordered", datetime, float)

_FULL = "the disk of the database is full: what is stored can be read, nothing can be written"

router = APIRouter(tags=["status"])
probes = APIRouter(tags=["status"])
scraped = APIRouter(tags=["status"])


@router.get("/status", response_model=StatusModel)
async def status(context: ContextDep, caller: CallerDep) -> StatusModel:
    """How the bridge gets on with its database and its backends; runs and queues are those of the caller's
    projects."""
    return await status_of(context, caller)


@scraped.get("/metrics", response_class=Response, responses=any_content("text/plain", "The numbers."))
async def metrics(context: ContextDep, caller: CallerDep) -> Response:
    """The same in numbers, as Prometheus reads them; for who sees all projects."""
    caller.need_everywhere(Action.READ)
    return Response(exposition(await status_of(context, caller)), media_type=EXPOSITION_TYPE)


@probes.get("/livez")
async def livez() -> dict[str, str]:
    """Whether the process answers at all."""
    return {"status": "alive"}


@probes.get("/readyz")
async def readyz(context: ContextDep) -> Response:
    """Whether requests can be served: the database answers and has room, the service is not stopping. A
    backend that is away does not count: submissions are taken all the same."""
    if context.stopping:
        return JSONResponse({"status": "stopping"}, status_code=503)
    try:
        await context.store.read(lambda s: leases.backlog(s, Duty.MIRROR))
    except DatabaseUnavailable as error:
        return JSONResponse({"status": "no database", "detail": str(error)}, status_code=503)
    if context.store.database.is_full:
        return JSONResponse({"status": "read-only", "detail": _FULL}, status_code=503)
    return JSONResponse({"status": "ready"})


async def status_of(context: Context, caller: Caller) -> StatusModel:
    """The installation's status as one message, as far as it concerns the caller's projects."""
    projects = caller.projects

    def read(session: Session) -> tuple[int, list[BackendStatus], EmissionStatus | None, OutboxStatus]:
        states: dict[str, list[BackendState]] = {}
        for state in backends.all_backend_states(session):
            states.setdefault(state.backend, []).append(state)
        queues, aside = _queues(context, session, caller), quarantine.counts(session, projects)
        paused = switches.switches(session)
        told = []
        for name, backend in context.backends.items():
            counts = runs.count_by_phase(session, name, projects)
            told.append(
                _backend_status(backend, states.get(name, []), counts, queues[name], aside.get(name, 0))
            )
            told[-1].switch = _switch_model(paused.get(name), counts)
        backlog = leases.backlog(session, Duty.MIRROR)
        emission = _emission_status(context, session) if caller.sees_all else None
        return backlog, told, emission, _outbox_status(session)

    backlog, told, emission, sequencing = await context.store.read(read)
    running = sum(one.running for one in context.supervisor.health.values()) if context.supervisor else 0
    return StatusModel(
        version=package_version(),
        database=context.store.database.dialect,
        schema_revision=context.store.database.head(),
        access="required" if context.authenticator.required else "off",
        workers=running,
        mirror_backlog=backlog,
        read_only=_FULL if context.store.database.is_full else None,
        backends=told,
        openlineage=emission,
        outbox=sequencing,
    )


def _latest(values: Iterable[_Ordered | None]) -> _Ordered | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _backend_status(
    backend: Backend,
    states: list[BackendState],
    counts: dict[RunPhase, int],
    queues: list[QueueStatus],
    quarantined: int,
) -> BackendStatus:
    # Another process may be the one that follows the backend; what it wrote down counts then.
    stale = [state.stale_since for state in states if state.stale_since]
    since = backend.stale_since or (min(stale) if stale else None)
    spared = backend.spared
    last_error = backend.last_error or next((state.last_error for state in states if state.last_error), None)
    return BackendStatus(
        name=backend.name,
        url=without_credentials(backend.settings.url),
        reachable=since is None,
        stale_since=since,
        last_fast_sweep_at=_latest(state.last_fast_sweep_at for state in states),
        last_slow_sweep_at=_latest(state.last_slow_sweep_at for state in states),
        last_sweep_seconds=_latest(state.last_sweep_seconds for state in states),
        tick_seconds=_latest(state.tick_seconds for state in states),
        last_error=last_error,
        trouble=trouble_of(last_error) if since else None,
        circuit=spared.circuit if spared else "closed",
        held_seconds=round(spared.held_seconds, 1) if spared else 0.0,
        waiting_requests=spared.waiting if spared else 0,
        watch=_watch_status(backend, states),
        history=_history_status(states),
        active_runs=counts.get(RunPhase.ACTIVE, 0),
        queued_runs=counts.get(RunPhase.QUEUED, 0) + counts.get(RunPhase.SUBMITTING, 0),
        max_active_runs=backend.settings.max_active_runs,
        queues=queues,
        quarantined=quarantined,
    )


def _history_status(states: list[BackendState]) -> HistoryStatus | None:
    found = [one for state in states if (one := import_from_json(state.history)) is not None]
    if not found:
        return None
    totals = [one.total for one in found if one.total is not None]
    return HistoryStatus(
        done=all(one.is_done for one in found),
        seen=sum(one.seen for one in found),
        total=sum(totals) if len(totals) == len(found) else None,
        since=min(one.since for one in found),
        reached=_latest(one.reached for one in found),
    )


def _switch_model(switch: Switch | None, counts: dict[RunPhase, int]) -> SwitchModel | None:
    if switch is None:
        return None
    return SwitchModel(
        backend=switch.backend,
        mode="paused" if not switch.draining else "drained" if switch.drained_at else "draining",
        since=switch.since,
        reason=switch.reason,
        drained_at=switch.drained_at,
        active_runs=counts.get(RunPhase.ACTIVE, 0) + counts.get(RunPhase.SUBMITTING, 0),
    )


def _outbox_status(session: Session) -> OutboxStatus:
    waiting, oldest = outbox.unnumbered(session)
    return OutboxStatus(
        last_number=outbox.last_number(session),
        unnumbered=waiting,
        oldest_seconds=(database_now(session) - oldest).total_seconds() if oldest else None,
    )


def _emission_status(context: Context, session: Session) -> EmissionStatus | None:
    consumer = context.settings.openlineage
    if consumer is None:
        return None
    behind = emissions.backlog(session)
    return EmissionStatus(
        url=without_credentials(consumer.url.partition("?")[0]),
        unread_events=behind.unread,
        waiting_runs=behind.waiting,
        dead_runs=behind.dead,
        failing_since=behind.failing_since,
        last_error=behind.last_error,
    )


def _queues(context: Context, session: Session, caller: Caller) -> dict[str, list[QueueStatus]]:
    moment, share_of = database_now(session), context.settings.share_of
    return {
        name: [
            QueueStatus(
                project=one.project,
                waiting=one.waiting,
                oldest_at=one.oldest,
                oldest_seconds=(moment - one.oldest).total_seconds() if one.oldest else None,
                active=one.active,
                max_active_runs=share_of(one.project).max_active_runs,
                weight=share_of(one.project).weight,
            )
            for one in queue.queues(session, name)
            if caller.sees(one.project)
        ]
        for name in context.backends
    }


def _watch_status(backend: Backend, states: list[BackendState]) -> WatchStatus | None:
    if backend.cluster is None:
        return None
    noted = next((state.facts["watch"] for state in states if "watch" in state.facts), None)
    # The process that follows the backend is the one that watches; others tell what it wrote down.
    facts = backend.cluster.facts() if backend.leads or noted is None else noted
    return WatchStatus.model_validate(facts)
