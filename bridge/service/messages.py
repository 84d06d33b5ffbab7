"""Events as messages for webhooks: CloudEvents 1.0 in JSON, signed as Standard Webhooks has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid5

from bridge.domain.identity import utc_text
from bridge.domain.webhooks import sign
from bridge.lineage.records import Event

MEDIA_TYPE = "application/cloudevents+json"
TYPE_PREFIX = "kfbridge."
SOURCE = "urn:kfbridge"
_EVENT_IDS = UUID("5b0f4f8c-6a0b-4f43-8a6c-2f3f0f1f7c55")


def message_id(event: Event) -> str:
    """The same for every attempt and every webhook. A database that was restored gives a number to another
    event, so the number alone would not do."""
    return str(uuid5(_EVENT_IDS, f"{event.number} {event.type} {utc_text(event.time)} {event.run_id}"))


def cloud_event(event: Event, source: str | None) -> dict[str, Any]:
    """The event as a CloudEvent. ``sequence`` grows with the event's number and sorts as text."""
    message: dict[str, Any] = {
        "specversion": "1.0",
        "id": message_id(event),
        "source": source or SOURCE,
        "type": TYPE_PREFIX + event.type,
        "time": utc_text(event.time),
        "sequence": f"{event.number:020d}",
        "datacontenttype": "application/json",
        "data": {**event.data, "project": event.project, "backend": event.backend},
    }
    if event.run_id is not None:
        message["subject"] = str(event.run_id)
    return message


def signed(
    event: Event, *, secrets: Sequence[str], source: str | None, at_seconds: int
) -> tuple[bytes, dict[str, str]]:
    """The body to send and its headers."""
    body = json.dumps(cloud_event(event, source), separators=(",", ":"), ensure_ascii=False).encode()
    name = message_id(event)
    headers = {
        "Content-Type": MEDIA_TYPE,
        "User-Agent": "kfbridge",
        "webhook-id": name,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": sign(secrets, name, at_seconds, body),
    }
    return body, headers
