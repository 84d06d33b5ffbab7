"""Webhooks: the API's messages about them, and the check of what a receiver gets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from bridge.client.models import Message, Request
from bridge.domain.webhooks import TOLERANCE_SECONDS, BadSignature, verify

__all__ = [
    "BadSignature",
    "DeliveryModel",
    "WebhookChange",
    "WebhookModel",
    "WebhookRequest",
    "WebhookTest",
    "verify_webhook",
]


def _checked(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise PydanticCustomError("url", "a webhook's address begins with http:// or https://")
    return url


Address = Annotated[str, AfterValidator(_checked)]


class WebhookRequest(Request):
    """``POST /webhooks``. Without ``types`` every event is sent, without ``project`` those of all projects.

    ``secret`` (``whsec_`` and base64 of 24 to 64 bytes) is made up if it is not given.
    """

    url: Address = Field(max_length=2048)
    types: list[str] = Field(default_factory=list, max_length=50)
    project: str = Field(default="", max_length=255)
    description: str = Field(default="", max_length=1000)
    secret: str | None = Field(default=None, max_length=200)


class WebhookChange(Request):
    """``PATCH /webhooks/{id}``: only what is given is changed."""

    url: Address | None = Field(default=None, max_length=2048)
    types: list[str] | None = Field(default=None, max_length=50)
    description: str | None = Field(default=None, max_length=1000)
    active: bool | None = None


class WebhookModel(Message):
    """A webhook. ``secret`` is shown once, by what made it. ``deliveries`` counts messages by state
    (``pending``, ``delivered``, ``dead``); ``failing_since`` is there while the newest attempts fail."""

    webhook_id: UUID
    url: str
    types: list[str] = Field(default_factory=list)
    project: str = ""
    description: str = ""
    active: bool = True
    created_at: datetime
    failing_since: datetime | None = None
    last_error: str | None = None
    deliveries: dict[str, int] = Field(default_factory=dict)
    secret: str | None = None


class DeliveryModel(Message):
    """One event owed to a webhook. ``number`` is the event's, ``status`` that of the last answer."""

    delivery_id: int
    number: int
    type: str
    run_id: UUID | None = None
    state: Literal["pending", "delivered", "dead"]
    attempts: int
    created_at: datetime
    due_at: datetime | None = None
    tried_at: datetime | None = None
    status: int | None = None
    error: str | None = None


class WebhookTest(Message):
    """What came of a test message (type ``kfbridge.webhook.test``)."""

    taken: bool
    status: int | None = None
    error: str | None = None


def verify_webhook(
    secrets: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_seconds: float = TOLERANCE_SECONDS,
) -> dict[str, Any]:
    """The CloudEvent in a message that a receiver got, once its signature was checked.

    ``headers`` are the request's, in any case; ``body`` its bytes as they came. The same ``id`` again is
    the same event again. Raises ``BadSignature``, and ``ValueError`` for a signed body that is no object.
    """
    known = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in ("webhook-id", "webhook-timestamp", "webhook-signature") if name not in known]
    if missing:
        raise BadSignature(f"the request has no header {missing[0]}")
    verify(
        [secrets] if isinstance(secrets, str) else secrets,
        known["webhook-id"],
        known["webhook-timestamp"],
        known["webhook-signature"],
        body,
        now_seconds=time.time(),
        tolerance_seconds=tolerance_seconds,
    )
    event = json.loads(body)
    if not isinstance(event, dict):
        raise ValueError("the message is no JSON object")
    return event
