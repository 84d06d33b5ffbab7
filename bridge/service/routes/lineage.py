"""``POST /lineage``: OpenLineage run events, one or a list, as Airflow's provider sends them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter, ValidationError
from sqlmodel import Session

from bridge.domain.access import Action
from bridge.lineage import datasets
from bridge.service.bodies import check_values
from bridge.service.openlineage import BadEvents, read_events
from bridge.service.problems import ProblemError
from bridge.service.routes.common import CallerDep, ContextDep

router = APIRouter(tags=["lineage"])

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


_EVENT = {"type": "object", "description": "An OpenLineage RunEvent."}
_BODY = {"oneOf": [_EVENT, {"type": "array", "items": _EVENT}]}


@router.post(
    "/lineage",
    status_code=202,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
)
async def post_lineage(
    request: Request,
    context: ContextDep,
    caller: CallerDep,
    project: Annotated[str, Query(max_length=255)] = "default",
) -> dict[str, int]:
    """Store what run events tell of jobs and datasets. All or nothing; sending them again changes nothing."""
    caller.need(Action.SUBMIT, project)
    raw = await request.body()
    check_values(raw)
    try:
        body = _ANY.validate_json(raw)
        events = read_events(body)
    except ValidationError as error:
        raise ProblemError(
            "invalid-request", "the body is no JSON", errors=[("", str(error.errors()[0]["msg"]))]
        ) from error
    except BadEvents as error:
        raise ProblemError("invalid-request", str(error), errors=error.errors) from error

    def write(session: Session) -> None:
        for event in events:
            datasets.record_job_event(session, project, event)

    await context.store.transact(write, repeatable=True)
    context.wakeups.sequencer.ring()
    return {"accepted": len(events)}
