"""``/webhooks``: who is told of events, what is owed to them, and what they did not take."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from sqlmodel import Session

from bridge.client.models import Page
from bridge.client.webhooks import (
    DeliveryModel,
    WebhookChange,
    WebhookModel,
    WebhookRequest,
    WebhookTest,
)
from bridge.domain.access import Action
from bridge.domain.redaction import redact_text
from bridge.domain.webhooks import make_secret, pattern_problem, secret_problem
from bridge.lineage import deliveries, webhooks
from bridge.lineage.deliveries import Delivery
from bridge.lineage.errors import CursorError
from bridge.lineage.records import Event
from bridge.lineage.webhooks import StoredWebhook, WebhookChanges
from bridge.service.access.caller import Caller
from bridge.service.describing import body_of
from bridge.service.outgoing import Outgoing
from bridge.service.problems import ProblemError
from bridge.service.routes.common import MAX_LIMIT, CallerDep, ContextDep, RowNumber, read_body
from bridge.service.workers.deliver import send

router = APIRouter(tags=["webhooks"])

_MOST_WEBHOOKS = 200
_SECRET_BYTES = 32
_BOTH_SECRETS_SECONDS = 24 * 3600.0
_TEST_TYPE = "webhook.test"


@router.get("/webhooks", response_model=Page[WebhookModel])
async def list_webhooks(
    context: ContextDep, caller: CallerDep, project: Annotated[list[str] | None, Query()] = None
) -> Page[WebhookModel]:
    """All webhooks, in the order they were made."""
    caller.need_anywhere(Action.OPERATE)
    projects = caller.narrowed(project or (), Action.OPERATE)
    found = await context.store.read(lambda s: _counted(s, webhooks.list_webhooks(s, projects)))
    return Page(items=found)


@router.post("/webhooks", status_code=201, response_model=WebhookModel, openapi_extra=body_of(WebhookRequest))
async def add_webhook(request: Request, context: ContextDep, caller: CallerDep) -> WebhookModel:
    """Tell an address of events from now on. The answer is the only one that shows the secret. Audited."""
    body = await read_body(request, WebhookRequest)
    caller.need(Action.ADMINISTER, body.project)
    _check_types(body.types)
    if body.secret is not None and (problem := secret_problem(body.secret)) is not None:
        raise ProblemError("invalid-request", problem, errors=[("/secret", problem)])
    secret = body.secret or make_secret(secrets.token_bytes(_SECRET_BYTES))

    def write(session: Session) -> StoredWebhook:
        if webhooks.count_webhooks(session) >= _MOST_WEBHOOKS:
            raise ProblemError("invalid-request", f"there are {_MOST_WEBHOOKS} webhooks already; remove some")
        return webhooks.add_webhook(
            session,
            url=body.url,
            secret=secret,
            types=body.types,
            project=body.project,
            description=body.description,
            actor=caller.actor,
        )

    stored = await context.store.transact(write)
    return _shown(stored).model_copy(update={"secret": secret})


@router.get("/webhooks/{webhook_id}", response_model=WebhookModel)
async def get_webhook(webhook_id: UUID, context: ContextDep, caller: CallerDep) -> WebhookModel:
    """A webhook and how many messages are owed to it."""
    return await context.store.read(lambda s: _counted(s, [_stored(s, caller, webhook_id)])[0])


@router.patch("/webhooks/{webhook_id}", response_model=WebhookModel, openapi_extra=body_of(WebhookChange))
async def change_webhook(
    webhook_id: UUID, request: Request, context: ContextDep, caller: CallerDep
) -> WebhookModel:
    """Change what is given. One that is made active again is told what happened meanwhile. Audited."""
    body = await read_body(request, WebhookChange)
    _check_types(body.types or [])
    changes: WebhookChanges = {}
    if body.url is not None:
        changes["url"] = body.url
    if body.types is not None:
        changes["types"] = body.types
    if body.description is not None:
        changes["description"] = body.description
    if body.active is not None:
        changes["active"] = body.active

    def write(session: Session) -> WebhookModel:
        _stored(session, caller, webhook_id, Action.ADMINISTER)
        return _counted(
            session, [webhooks.change_webhook(session, webhook_id, actor=caller.actor, **changes)]
        )[0]

    changed = await context.store.transact(write, repeatable=True)
    context.wakeups.deliver.ring()
    return changed


@router.delete("/webhooks/{webhook_id}", status_code=204)
async def remove_webhook(webhook_id: UUID, context: ContextDep, caller: CallerDep) -> None:
    """Take a webhook away with everything owed to it. Audited."""

    def write(session: Session) -> None:
        _stored(session, caller, webhook_id, Action.ADMINISTER)
        webhooks.remove_webhook(session, webhook_id, actor=caller.actor)

    await context.store.transact(write)


@router.post("/webhooks/{webhook_id}:rotate", response_model=WebhookModel)
async def rotate_secret(webhook_id: UUID, context: ContextDep, caller: CallerDep) -> WebhookModel:
    """Make a new secret, which the answer shows; for a day messages carry a signature of each. Audited."""
    secret = make_secret(secrets.token_bytes(_SECRET_BYTES))

    def write(session: Session) -> StoredWebhook:
        _stored(session, caller, webhook_id, Action.ADMINISTER)
        return webhooks.rotate_secret(
            session, webhook_id, secret, both_for_seconds=_BOTH_SECRETS_SECONDS, actor=caller.actor
        )

    stored = await context.store.transact(write)
    return _shown(stored).model_copy(update={"secret": secret})


@router.post("/webhooks/{webhook_id}:test", response_model=WebhookTest)
async def test_webhook(webhook_id: UUID, context: ContextDep, caller: CallerDep) -> WebhookTest:
    """Send one test message now, and tell what came of it; it is not repeated."""
    stored = await context.store.read(lambda s: _stored(s, caller, webhook_id))
    settings = context.settings
    event = Event(
        number=0,
        type=_TEST_TYPE,
        time=datetime.now(UTC),
        run_id=None,
        project=stored.project,
        backend="",
        data={"webhook_id": str(webhook_id)},
    )
    outgoing = Outgoing(
        timeout_seconds=settings.webhook_timeout_seconds, private=settings.may_reach_private()
    )
    async with outgoing:
        outcome = await send(outgoing, stored, event, settings.public_url)
    return WebhookTest(taken=outcome.taken, status=outcome.status, error=outcome.error)


@router.post("/webhooks/{webhook_id}:redeliver")
async def redeliver_dead(webhook_id: UUID, context: ContextDep, caller: CallerDep) -> dict[str, int]:
    """Send everything that was given up once more; the answer says how many messages that are."""

    def write(session: Session) -> int:
        _stored(session, caller, webhook_id)
        return deliveries.redeliver(session, webhook_id)

    count = await context.store.transact(write, repeatable=True)
    context.wakeups.deliver.ring()
    return {"redelivered": count}


@router.get("/webhooks/{webhook_id}/deliveries", response_model=Page[DeliveryModel])
async def list_deliveries(
    webhook_id: UUID,
    context: ContextDep,
    caller: CallerDep,
    *,
    state: Literal["pending", "delivered", "dead"] | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
) -> Page[DeliveryModel]:
    """Messages of a webhook, newest first; ``state=dead`` are those that were given up."""

    def read(session: Session) -> tuple[list[Delivery], str | None]:
        _stored(session, caller, webhook_id)
        return deliveries.list_deliveries(session, webhook_id, state=state, cursor=cursor, limit=limit)

    try:
        found, following = await context.store.read(read)
    except CursorError as error:
        raise ProblemError("invalid-request", str(error), errors=[("/cursor", str(error))]) from error
    return Page(items=[_delivery(one) for one in found], next_cursor=following)


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}:redeliver")
async def redeliver_one(
    webhook_id: UUID, delivery_id: RowNumber, context: ContextDep, caller: CallerDep
) -> dict[str, int]:
    """Send one message once more, whatever came of it."""

    def write(session: Session) -> int:
        _stored(session, caller, webhook_id)
        return deliveries.redeliver(session, webhook_id, delivery_id)

    count = await context.store.transact(write, repeatable=True)
    if not count:
        raise ProblemError("not-found", f"webhook {webhook_id} has no delivery {delivery_id}")
    context.wakeups.deliver.ring()
    return {"redelivered": count}


def _check_types(types: list[str]) -> None:
    problems = [(f"/types/{place}", pattern_problem(one)) for place, one in enumerate(types)]
    errors = [(place, problem) for place, problem in problems if problem is not None]
    if errors:
        raise ProblemError("invalid-request", "; ".join(text for _, text in errors), errors=errors)


def _stored(
    session: Session, caller: Caller, webhook_id: UUID, action: Action = Action.OPERATE
) -> StoredWebhook:
    stored = webhooks.find_webhook(session, webhook_id)
    if stored is None or not caller.sees(stored.project):
        raise ProblemError("not-found", f"there is no webhook {webhook_id}")
    caller.need(action, stored.project)
    return stored


def _counted(session: Session, stored: Sequence[StoredWebhook]) -> list[WebhookModel]:
    counts = deliveries.count_deliveries(session, [one.webhook_id for one in stored])
    return [
        _shown(one).model_copy(update={"deliveries": dict(counts.get(one.webhook_id, {}))}) for one in stored
    ]


def _shown(stored: StoredWebhook) -> WebhookModel:
    return WebhookModel(
        webhook_id=stored.webhook_id,
        url=redact_text(stored.url),
        types=list(stored.types),
        project=stored.project,
        description=stored.description,
        active=stored.active,
        created_at=stored.created_at,
        failing_since=stored.failing_since,
        last_error=stored.last_error,
    )


def _delivery(one: Delivery) -> DeliveryModel:
    return DeliveryModel(
        delivery_id=one.delivery_id,
        number=one.event.number,
        type=one.event.type,
        run_id=one.event.run_id,
        state=one.state,
        attempts=one.attempts,
        created_at=one.created_at,
        due_at=one.due_at,
        tried_at=one.tried_at,
        status=one.status,
        error=one.error,
    )
