"""``/backends/{name}:pause`` and ``:resume``: whether anything new is sent to a backend."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlmodel import Session

from bridge.client.status import BackendStatus, PauseRequest
from bridge.domain.access import Action
from bridge.lineage import switches
from bridge.service.access.caller import Caller
from bridge.service.context import Context
from bridge.service.describing import body_of
from bridge.service.problems import ProblemError
from bridge.service.routes.common import CallerDep, ContextDep, read_body
from bridge.service.routes.status import status_of

router = APIRouter(tags=["status"])

_Name = Annotated[str, Path(max_length=255)]


@router.post("/backends/{name}:pause", response_model=BackendStatus, openapi_extra=body_of(PauseRequest))
async def pause(name: _Name, request: Request, context: ContextDep, caller: CallerDep) -> BackendStatus:
    """Send nothing new to the backend until it is resumed; what is under way goes on and is followed,
    submissions are taken and wait. Audited."""
    caller.need_everywhere(Action.OPERATE)
    body = await read_body(request, PauseRequest)
    _check(context, name)

    def write(session: Session) -> None:
        switches.pause(session, name, draining=body.drain, reason=body.reason, actor=caller.actor)
        switches.note_drained(session, name)

    await context.store.transact(write)
    return await _told(context, caller, name)


@router.post("/backends/{name}:resume", response_model=BackendStatus)
async def resume(name: _Name, context: ContextDep, caller: CallerDep) -> BackendStatus:
    """Send to the backend again; of one that is not paused nothing changes. Audited."""
    caller.need_everywhere(Action.OPERATE)
    _check(context, name)
    await context.store.transact(lambda s: switches.resume(s, name, actor=caller.actor))
    context.wakeups.submit(name).ring()
    return await _told(context, caller, name)


def _check(context: Context, name: str) -> None:
    if name not in context.backends:
        raise ProblemError("not-found", f"there is no backend {name}")


async def _told(context: Context, caller: Caller, name: str) -> BackendStatus:
    status = await status_of(context, caller)
    return next(one for one in status.backends if one.name == name)
