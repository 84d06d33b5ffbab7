"""Webhooks: who wants to be told of which events, where, and with which secret messages are signed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict, Unpack
from uuid import UUID, uuid4

from sqlalchemy import RowMapping, delete, func, select, update
from sqlmodel import Session

from bridge.domain.redaction import redact_named, redact_text
from bridge.lineage import audit, outbox
from bridge.lineage.bulk import changed_rows, insert_timed
from bridge.lineage.columns import database_time
from bridge.lineage.errors import NotStored
from bridge.lineage.tables import WEBHOOK_DELIVERIES, WEBHOOKS


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWebhook:
    """A webhook. ``project`` is empty if it hears of every project, ``types`` if of every event.

    ``secrets`` are those that a message is signed with now, the newest first. ``failing_since`` is when the
    first of the failures came that no success has followed yet.
    """

    webhook_id: UUID
    project: str
    url: str
    types: tuple[str, ...]
    description: str
    active: bool
    secrets: tuple[str, ...]
    reached: int
    created_at: datetime
    failing_since: datetime | None = None
    last_error: str | None = None


class WebhookChanges(TypedDict, total=False):
    """What a caller may change of a webhook."""

    url: str
    types: Sequence[str]
    description: str
    active: bool


def add_webhook(
    session: Session,
    *,
    url: str,
    secret: str,
    types: Collection[str] = (),
    project: str = "",
    description: str = "",
    actor: str = "",
) -> StoredWebhook:
    """Write a webhook that hears of what happens from now on. Audited."""
    webhook_id = uuid4()
    row = {
        "webhook_id": webhook_id,
        "project": project,
        "url": url,
        "types": list(types),
        "description": description,
        "secret": secret,
        "reached": outbox.last_number(session),
    }
    insert_timed(session, WEBHOOKS, "created_at", [row])
    made = _get(session, webhook_id)
    told = {"webhook_id": str(webhook_id), "url": url}
    _audit(session, "webhook.add", actor, project, told, after=_shown(made))
    return made


def find_webhook(session: Session, webhook_id: UUID) -> StoredWebhook | None:
    """The webhook as it stands."""
    statement = _webhooks().where(WEBHOOKS.c.webhook_id == webhook_id)
    row = session.execute(statement).mappings().first()
    return None if row is None else _webhook(row)


def list_webhooks(session: Session, projects: Collection[str] = ()) -> list[StoredWebhook]:
    """All webhooks in the order they were made, or those of some projects. There are few."""
    statement = _webhooks().order_by(WEBHOOKS.c.id)
    if projects:
        statement = statement.where(WEBHOOKS.c.project.in_(projects))
    return [_webhook(row) for row in session.execute(statement).mappings()]


def count_webhooks(session: Session) -> int:
    """How many webhooks there are."""
    return session.scalars(select(func.count()).select_from(WEBHOOKS)).one()


def change_webhook(
    session: Session, webhook_id: UUID, *, actor: str = "", **changes: Unpack[WebhookChanges]
) -> StoredWebhook:
    """Change some of a webhook. Raises ``NotStored``. Audited.

    A webhook that was not active hears of what happened meanwhile, too.
    """
    values: dict[str, Any] = dict(changes)
    if "types" in values:
        values["types"] = list(values["types"])
    stored = _get(session, webhook_id)
    if values:
        session.execute(update(WEBHOOKS).where(WEBHOOKS.c.webhook_id == webhook_id).values(**values))
        told = {"webhook_id": str(webhook_id), **values}
        changed = _get(session, webhook_id)
        _audit(
            session,
            "webhook.change",
            actor,
            stored.project,
            told,
            before=_shown(stored),
            after=_shown(changed),
        )
    return _get(session, webhook_id)


def rotate_secret(
    session: Session, webhook_id: UUID, secret: str, *, both_for_seconds: float, actor: str = ""
) -> StoredWebhook:
    """Sign with a new secret from now on, and for so long with the old one, too. Raises ``NotStored``."""
    stored = _get(session, webhook_id)
    session.execute(
        update(WEBHOOKS)
        .where(WEBHOOKS.c.webhook_id == webhook_id)
        .values(
            previous_secret=WEBHOOKS.c.secret, previous_until=database_time(both_for_seconds), secret=secret
        )
    )
    _audit(session, "webhook.rotate", actor, stored.project, {"webhook_id": str(webhook_id)})
    return _get(session, webhook_id)


def remove_webhook(session: Session, webhook_id: UUID, *, actor: str = "") -> bool:
    """Take a webhook away with everything owed to it; whether it was there. Audited."""
    stored = find_webhook(session, webhook_id)
    if stored is None:
        return False
    key = select(WEBHOOKS.c.id).where(WEBHOOKS.c.webhook_id == webhook_id).scalar_subquery()
    session.execute(delete(WEBHOOK_DELIVERIES).where(WEBHOOK_DELIVERIES.c.webhook == key))
    session.execute(delete(WEBHOOKS).where(WEBHOOKS.c.webhook_id == webhook_id))
    removed = {"webhook_id": str(webhook_id), "url": stored.url}
    _audit(session, "webhook.remove", actor, stored.project, removed, before=_shown(stored))
    return True


def note_success(session: Session, webhook_id: UUID) -> None:
    """The webhook took a message after failures."""
    values = {"failing_since": None, "last_error": None}
    session.execute(update(WEBHOOKS).where(WEBHOOKS.c.webhook_id == webhook_id).values(**values))


def note_failure(session: Session, webhook_id: UUID, error: str, *, gone: bool = False) -> None:
    """The webhook took no message; one that is ``gone`` is not tried again until it is made active."""
    values: dict[str, Any] = {
        "failing_since": func.coalesce(WEBHOOKS.c.failing_since, database_time()),
        "last_error": error,
    }
    if gone:
        values["active"] = False
    changed = changed_rows(
        session, update(WEBHOOKS).where(WEBHOOKS.c.webhook_id == webhook_id).values(**values)
    )
    if gone and changed:
        told = {"webhook_id": str(webhook_id), "error": error}
        _audit(session, "webhook.gone", "", "", told, before={"active": True}, after={"active": False})


def _get(session: Session, webhook_id: UUID) -> StoredWebhook:
    stored = find_webhook(session, webhook_id)
    if stored is None:
        raise NotStored(f"there is no webhook {webhook_id}")
    return stored


def _webhooks() -> Any:
    both = WEBHOOKS.c.previous_until > database_time()
    return select(WEBHOOKS, both.label("signs_with_both"))


def _webhook(row: RowMapping) -> StoredWebhook:
    secrets = (row["secret"], row["previous_secret"]) if row["signs_with_both"] else (row["secret"],)
    return StoredWebhook(
        webhook_id=row["webhook_id"],
        project=row["project"],
        url=row["url"],
        types=tuple(row["types"] or ()),
        description=row["description"],
        active=row["active"],
        secrets=secrets,
        reached=row["reached"],
        created_at=row["created_at"],
        failing_since=row["failing_since"],
        last_error=row["last_error"],
    )


def _shown(stored: StoredWebhook) -> dict[str, Any]:
    """What the audit log keeps of a webhook: not its secrets."""
    return {
        "url": redact_text(stored.url),
        "types": list(stored.types),
        "description": stored.description,
        "active": stored.active,
    }


def _audit(
    session: Session,
    action: str,
    actor: str,
    project: str,
    data: dict[str, Any],
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    told = redact_named(data)
    audit.record(session, action, actor=actor, data=told, before=before, after=after, project=project)
