"""``/backends/{name}:pause`` and ``:resume``: whether anything new is sent to a backend."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from sqlmodel import Session

from bridge.client.status import BackendStatus, PauseRequest
from bridge.lineage import switches
from bridge.service.context import Context
from bridge.service.describing import body_of
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep, read_body
from bridge.service.routes.status import status_of

router = APIRouter(tags=["status"])

_Name = Annotated[str, Path(max_length=255)]


@router.post("/backends/{name}:pause", response_model=BackendStatus, openapi_extra=body_of(PauseRequest))
async def pause(name: _Name, request: Request, context: ContextDep) -> BackendStatus:
    """Send nothing new to the backend until it is resumed; what is under way goes on and is followed,
    submissions are taken and wait. Audited."""
    body = await read_body(request, PauseRequest)
    _check(context, name)

    def write(session: Session) -> None:
        switches.pause(session, name, draining=body.drain, reason=body.reason)
        switches.note_drained(session, name)

    await context.store.transact(write)
    return await _told(context, name)


@router.post("/backends/{name}:resume", response_model=BackendStatus)
async def resume(name: _Name, context: ContextDep) -> BackendStatus:
    """Send to the backend again; of one that is not paused nothing changes. Audited."""
    _check(context, name)
    await context.store.transact(lambda s: switches.resume(s, name))
    context.wakeups.submit(name).ring()
    return await _told(context, name)


def _check(context: Context, name: str) -> None:
    if name not in context.backends:
        raise ProblemError("not-found", f"there is no backend {name}")


async def _told(context: Context, name: str) -> BackendStatus:
    status = await status_of(context)
    return next(one for one in status.backends if one.name == name)
