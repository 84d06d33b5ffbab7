"""Sends events to webhooks: again after failures, and set aside as dead when nobody takes them."""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

import httpx
from sqlmodel import Session

from bridge.domain.redaction import redact_text
from bridge.lineage import deliveries, webhooks
from bridge.lineage.deliveries import Delivery, DeliveryState
from bridge.lineage.records import Event
from bridge.lineage.webhooks import StoredWebhook
from bridge.service.context import Context
from bridge.service.messages import signed
from bridge.service.outgoing import AddressRefused, Outgoing
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.pool import Pool

log = logging.getLogger(__name__)

_AT_ONCE = 32
_AT_ONCE_EACH = 8
_TOLD_CHARACTERS = 200
_FORGET_EVERY_SECONDS = 600.0
# The database has to hear of an answer before somebody else sends the same again.
_MARGIN_SECONDS = 20.0
_GONE = 410


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one attempt: ``taken`` is a 2xx, ``retry_after_seconds`` what the receiver asked for."""

    taken: bool
    status: int | None
    error: str | None = None
    retry_after_seconds: float = 0.0


async def send(outgoing: Outgoing, webhook: StoredWebhook, event: Event, source: str | None) -> Outcome:
    """Send one event once; every failure is an outcome, too."""
    body, headers = signed(event, secrets=webhook.secrets, source=source, at_seconds=int(time.time()))
    try:
        answer = await outgoing.post(webhook.url, body, headers)
    except AddressRefused as error:
        return Outcome(False, None, str(error))
    except TimeoutError:
        return Outcome(False, None, "no answer in time")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(False, None, f"{type(error).__name__}: {error}")
    if 200 <= answer.status < 300:
        return Outcome(True, answer.status)
    wanted = answer.headers.get("retry-after", "")
    told = redact_text(" ".join(answer.text.split()))[:_TOLD_CHARACTERS]
    return Outcome(
        False,
        answer.status,
        f"answered {answer.status}{f': {told}' if told else ''}",
        float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0,
    )


class Deliverer:
    """Writes down what events owe to webhooks, and sends it; any number of processes share the work."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._store = context.store
        self._bell = context.wakeups.deliver
        self._pool = Pool(_AT_ONCE, self._bell)
        self._busy: Counter[UUID] = Counter()

    async def run(self) -> None:
        """Send until cancelled; what is under way is then given time to come to its end."""
        settings = self._context.settings
        forget_at = time.monotonic()
        outgoing = Outgoing(
            timeout_seconds=settings.webhook_timeout_seconds, private=settings.may_reach_private()
        )
        async with outgoing:
            try:
                while True:
                    if not await self.step(outgoing):
                        await self._bell.wait(settings.worker_poll_seconds)
                    if time.monotonic() >= forget_at:
                        await self._forget()
                        forget_at = time.monotonic() + _FORGET_EVERY_SECONDS
            finally:
                await self._pool.close(settings.shutdown_seconds / 2)

    async def step(self, outgoing: Outgoing) -> int:
        """One round: note what is owed, take what is due and there is room for; how many of both."""
        noted = await self._store.transact(deliveries.fan_out)
        if self._pool.free <= 0:
            return 0
        room = {hook: _AT_ONCE_EACH - busy for hook, busy in self._busy.items()}
        sending = self._context.settings.webhook_timeout_seconds + _MARGIN_SECONDS
        most = min(_AT_ONCE_EACH, self._pool.free)

        def take(session: Session) -> tuple[list[Delivery], dict[UUID, StoredWebhook]]:
            taken = deliveries.claim_deliveries(session, room, most=most, sending_seconds=sending)
            hooks = webhooks.list_webhooks(session) if taken else []
            return taken, {hook.webhook_id: hook for hook in hooks}

        taken, hooks = await self._store.transact(take)
        for delivery in taken:
            self._busy[delivery.webhook_id] += 1
            job = self._deliver(outgoing, hooks[delivery.webhook_id], delivery)
            self._pool.start(job, webhook_id=delivery.webhook_id, event=delivery.event.number)
        return noted + len(taken)

    async def drain(self) -> None:
        """Wait until everything taken was sent."""
        await self._pool.drain()

    async def _deliver(self, outgoing: Outgoing, webhook: StoredWebhook, delivery: Delivery) -> None:
        try:
            outcome = await send(outgoing, webhook, delivery.event, self._context.settings.public_url)
            await self._store.transact(lambda s: self._finish(s, webhook, delivery, outcome), repeatable=True)
        finally:
            self._busy[delivery.webhook_id] -= 1

    def _finish(self, session: Session, webhook: StoredWebhook, delivery: Delivery, outcome: Outcome) -> None:
        settings = self._context.settings
        state: DeliveryState = "delivered"
        pause = 0.0
        if not outcome.taken:
            state = "dead" if delivery.attempts >= settings.webhook_attempts else "pending"
            pause = backoff_seconds(
                delivery.attempts,
                first=settings.webhook_retry_seconds,
                longest=settings.webhook_longest_retry_seconds,
            )
            pause = min(max(pause, outcome.retry_after_seconds), settings.webhook_longest_retry_seconds)
        written = deliveries.finish_delivery(
            session, delivery, state, status=outcome.status, error=outcome.error, again_in_seconds=pause
        )
        if outcome.taken:
            if webhook.failing_since is not None:
                webhooks.note_success(session, webhook.webhook_id)
        elif written:
            gone = outcome.status == _GONE
            webhooks.note_failure(session, webhook.webhook_id, outcome.error or "", gone=gone)
            self._tell(webhook, delivery, outcome, state)

    def _tell(self, webhook: StoredWebhook, delivery: Delivery, outcome: Outcome, state: str) -> None:
        facts = {
            "webhook_id": webhook.webhook_id,
            "event": delivery.event.number,
            "attempt": delivery.attempts,
            "error": outcome.error,
        }
        if state == "dead":
            log.error("event given up for a webhook; redeliver it when the receiver works", extra=facts)
        elif delivery.attempts == 1:
            log.warning("webhook did not take an event; it is sent again", extra=facts)

    async def _forget(self) -> None:
        seconds = self._context.settings.webhook_keep_days * 86_400.0
        while await self._store.transact(lambda s: deliveries.forget_delivered(s, seconds)):
            log.debug("old deliveries forgotten")
