"""``GET /events``: what happens, as server-sent events from the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from sqlmodel import Session

from bridge.lineage import outbox
from bridge.lineage.errors import DatabaseUnavailable
from bridge.lineage.records import Event
from bridge.service.access.caller import Caller
from bridge.service.context import Context
from bridge.service.convert import event_model
from bridge.service.describing import any_content
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep, get_caller

router = APIRouter(tags=["events"])

_BATCH = 200
_WINDOW = 20_000
_RECONNECT_MS = 2000


@router.get(
    "/events",
    response_class=Response,
    responses=any_content("text/event-stream", "Events; their `data` is an EventModel."),
)
async def events(
    request: Request,
    context: ContextDep,
    after: Annotated[int | None, Query(ge=0, description="As Last-Event-ID; 0 is the beginning.")] = None,
    run_id: Annotated[UUID | None, Query(description="Only events of this run.")] = None,
) -> StreamingResponse:
    """Numbered events after ``Last-Event-ID`` (or from now on), none left out but those that were removed
    after ``events_days``; comments are heartbeats.

    The stream begins with the number it starts after, as an ``id`` without data.
    """
    asked = _number(request.headers.get("last-event-id")) if after is None else after
    newest = await context.store.read(outbox.last_number)
    # A number that was never given out comes from before the database was replaced.
    start = newest if asked is None else min(asked, newest)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = _stream(context, partial(get_caller, request, context), start, run_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    context: Context, who_asks: Callable[[], Awaitable[Caller]], number: int, run_id: UUID | None
) -> AsyncIterator[str]:
    settings = context.settings
    loop = asyncio.get_running_loop()
    yield f"retry: {_RECONNECT_MS}\nid: {number}\n: events after {number}\n\n"
    silent_since = loop.time()
    with context.wakeups.listening() as bell:
        while not context.stopping:
            try:
                # A stream outlives the token it was opened with.
                caller = await who_asks()
                found, looked_at = await _after(context, caller, number, run_id)
            except ProblemError:
                return
            except DatabaseUnavailable:
                # The reader comes back with the last number it saw, and misses nothing.
                return
            for event in found:
                yield _frame(event)
            rest = len(found) == _BATCH or looked_at >= number + _WINDOW
            number = looked_at
            if found:
                silent_since = loop.time()
            if rest:
                continue
            if loop.time() - silent_since >= settings.heartbeat_seconds:
                # Of others' events, too: whoever comes back need not have them looked through again.
                yield f"id: {number}\n: heartbeat\n\n" if caller.projects else ": heartbeat\n\n"
                silent_since = loop.time()
            await bell.wait(min(settings.change_poll_seconds, settings.heartbeat_seconds))


async def _after(
    context: Context, caller: Caller, number: int, run_id: UUID | None
) -> tuple[list[Event], int]:
    """The next events, and up to which number everything was looked at."""
    projects = caller.projects

    def read(session: Session) -> tuple[list[Event], int]:
        # Others' events are passed over a window at a time; those of a run have an index.
        until = min(outbox.last_number(session), number + _WINDOW) if projects else None
        found = outbox.events_after(session, number, _BATCH, run_id=run_id, projects=projects, until=until)
        if until is None or len(found) == _BATCH:
            return found, found[-1].number if found else number
        return found, max(until, number)

    return await context.store.read(read)


def _frame(event: Event) -> str:
    told = event_model(event).model_dump_json()
    return f"id: {event.number}\nevent: {event.type}\ndata: {told}\n\n"


def _number(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not text.isdigit():
        raise ProblemError("invalid-request", f"Last-Event-ID {text} is no number of an event")
    return int(text)
