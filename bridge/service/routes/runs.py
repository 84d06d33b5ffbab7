"""``/runs``: submit, list, read, wait for, cancel and retry runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlmodel import Session

from bridge.client.calls import WAITS_HEADER
from bridge.client.models import CancelRequest, ClearedModel, Page, RunModel, SubmitRequest
from bridge.domain.access import Action
from bridge.domain.lineage import Run
from bridge.domain.tracing import TRACEPARENT, current_traceparent, valid_traceparent
from bridge.lineage import reading, runs, submissions
from bridge.lineage.database import now as database_now
from bridge.lineage.errors import CursorError
from bridge.service.access.caller import Caller
from bridge.service.convert import is_over
from bridge.service.describing import body_of
from bridge.service.filters import RunQuery, check_names, to_filter, to_order
from bridge.service.problems import ProblemError
from bridge.service.revive import clear_task, retry_failed_tasks
from bridge.service.routes.common import (
    MAX_LIMIT,
    CallerDep,
    ContextDep,
    as_json,
    present,
    present_all,
    present_whole,
    read_body,
    seconds_of,
    seen_run,
    stored_run,
    waiting_warnings,
    while_known,
)

router = APIRouter(tags=["runs"])


@router.post("/runs", status_code=202, response_model=RunModel, openapi_extra=body_of(SubmitRequest))
async def submit(request: Request, context: ContextDep, caller: CallerDep) -> Response:
    """Hand a pipeline over. Recorded durably before the answer; sent to the backend afterwards.

    The key that makes repeats harmless is the header ``Idempotency-Key``, or is derived from an
    origin that names an Airflow task instance. The header ``KFBridge-Waits`` says that the caller will
    wait for the run: see the setting ``orphan_after_seconds``. The header ``traceparent`` (W3C Trace Context)
    is kept with the run, whose spans then belong to the caller's trace.
    """
    body = await read_body(request, SubmitRequest)
    caller.need(Action.SUBMIT, body.project)
    parent = valid_traceparent(request.headers.get(TRACEPARENT)) or valid_traceparent(body.origin.traceparent)
    with context.tracing.span("kfbridge.accept", parent):
        # Without a caller's span the trace begins here.
        origin = body.origin.model_copy(update={TRACEPARENT: parent or current_traceparent()})
        told = body.model_copy(update={"origin": origin})
        key = request.headers.get("idempotency-key")
        accepted = await request.app.state.acceptance.accept(told, key, actor=caller.actor)
    if WAITS_HEADER in request.headers:
        await context.waiters.expect(accepted.run)
    waiting = await waiting_warnings(context, accepted.run)
    model = present(context, request, accepted.run, [*accepted.warnings, *waiting])
    headers = {"Location": f"/api/v1/runs/{accepted.run.run_id}", "ETag": _etag(accepted.run)}
    if accepted.replayed:
        headers["Idempotency-Replayed"] = "true"
    if accepted.unchanged:
        headers["Skipped-Unchanged"] = "true"
    return as_json(model, status_code=202, headers=headers)


@router.get("/runs", response_model=Page[RunModel])
async def list_runs(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    query: Annotated[RunQuery, Query()],
    *,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
    metrics: Annotated[int, Query(ge=0, le=10, description="How many metrics of each run to tell.")] = 0,
) -> Page[RunModel]:
    """Runs, newest first, page by page; every filter narrows, and one that there is not is refused."""
    check_names(request.query_params)
    asked, order = to_filter(query), to_order(query)
    where = replace(asked, projects=caller.narrowed(asked.projects))
    try:
        found, following = await context.store.read(
            lambda s: runs.list_runs(s, where, order=order, cursor=cursor, limit=limit)
        )
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    if where.ids:
        # Only who waits for runs asks for them by their ids.
        await context.waiters.heard(found)
    items = await present_all(context, request, found)
    if metrics and found:
        ids = [run.run_id for run in found]
        measured = await context.store.read(lambda s: reading.first_metrics_of(s, ids, limit=metrics))
        items = [one.model_copy(update={"metrics": measured.get(one.run_id, {})}) for one in items]
    return Page(items=items, next_cursor=following)


@router.get("/runs/{run_id}", response_model=RunModel)
async def get_run(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    run_id: UUID,
    *,
    wait: Annotated[str | None, Query(description="How long to wait for a change, such as 30s.")] = None,
    version: Annotated[int | None, Query(ge=0, description="Wait for a version above this one.")] = None,
) -> Response:
    """One run. With ``wait`` the answer comes when the run is newer than ``version`` (or than the
    ``If-None-Match`` entity tag, or than it is now), or when the wait is over; a run that is over is
    never waited for."""
    seconds = seconds_of(wait, context.settings.max_wait_seconds)
    run = await stored_run(context, caller, run_id)
    tag = request.headers.get("if-none-match", "")
    known = version if version is not None else _version_of(tag)
    if seconds > 0 and not is_over(run) and (known is None or run.version <= known):
        await context.waiters.heard([run])
        above = run.version if known is None else known
        changed = await while_known(request, context, context.wakeups.runs.wait(run_id, above, seconds))
        run = await stored_run(context, caller, run_id) if changed else run
    if tag and tag.removeprefix("W/") == _etag(run):
        return Response(status_code=304, headers={"ETag": _etag(run)})
    model = await present_whole(context, request, run)
    headers = {"ETag": _etag(run), "Cache-Control": "private, no-cache"}
    return as_json(model, headers=headers)


@router.post(
    "/runs/{run_id}:cancel",
    status_code=202,
    response_model=RunModel,
    openapi_extra=body_of(CancelRequest),
)
async def cancel(request: Request, context: ContextDep, caller: CallerDep, run_id: UUID) -> RunModel:
    """Ask for the run's end; asking twice, or for a run that has ended, changes nothing."""
    body = await read_body(request, CancelRequest)
    run = await context.store.transact(lambda s: _cancel(s, caller, run_id, body))
    context.store.announce(run)
    context.ring_after([run])
    return present(context, request, run)


@router.post("/runs/{run_id}:retry", status_code=202, response_model=RunModel)
async def retry(request: Request, context: ContextDep, caller: CallerDep, run_id: UUID) -> RunModel:
    """Let a failed run go on from the tasks that failed, under its own id (KFP's ``:retry``)."""
    run = await stored_run(context, caller, run_id, Action.SUBMIT)
    return present(context, request, await retry_failed_tasks(context, run, actor=caller.actor))


@router.post("/runs/{run_id}:clear", status_code=202, response_model=ClearedModel)
async def clear(context: ContextDep, caller: CallerDep, run_id: UUID) -> ClearedModel:
    """Have Airflow clear the task that asked for the run, with what comes after it in its DagRun: Airflow
    asks again, and both sides say the same. It takes the settings' table ``airflow``."""
    run = await stored_run(context, caller, run_id, Action.OPERATE)
    return await clear_task(context, run, actor=caller.actor)


def _cancel(session: Session, caller: Caller, run_id: UUID, body: CancelRequest) -> Run:
    run = seen_run(caller, runs.get_run(session, run_id), run_id, Action.SUBMIT)
    if body.key is not None:
        _refuse_stale(session, run, body.key, body.try_number)
    if run.phase.is_over:
        return run
    at = database_now(session)
    return runs.request_cancel(session, run_id, at=at, reason=body.reason, actor=caller.actor)


def _refuse_stale(session: Session, run: Run, key: UUID, try_number: int | None) -> None:
    """A cancel speaks for a generation and a try; one that was superseded has no say."""
    submission = submissions.find_submission(session, key)
    if submission is None or submission.current_run != run.run_id:
        raise ProblemError(
            "superseded", "this run no longer belongs to the submission that wants it canceled"
        )
    if try_number is not None and try_number < submission.try_number:
        raise ProblemError(
            "superseded",
            f"try {try_number} wants the run canceled, but try {submission.try_number} uses it now",
        )
    if submission.family is None or run.submission_key != key:
        return
    other = submissions.newest_in_family(session, submission.family, other_than=key)
    if other is not None and other.run_id == run.run_id:
        raise ProblemError("superseded", "the task was cleared, and its next attempt has adopted this run")


def _etag(run: Run) -> str:
    return f'"{run.run_id}.{run.version}"'


def _version_of(tag: str) -> int | None:
    text = tag.removeprefix("W/").strip('"').rpartition(".")[2]
    return int(text) if text.isdigit() else None
