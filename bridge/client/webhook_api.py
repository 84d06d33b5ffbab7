"""The part of the client that is about webhooks: ``client.webhooks``, with an event loop and without."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from uuid import UUID

import httpx

from bridge.client.models import Page
from bridge.client.network import run_blocking
from bridge.client.webhooks import DeliveryModel, WebhookChange, WebhookModel, WebhookRequest, WebhookTest
from bridge.client.wire import Call, model_reader, page_reader, read_nothing

T = TypeVar("T")
_HOOK = model_reader(WebhookModel)
DeliveryState = Literal["pending", "delivered", "dead"]


class AsyncWebhooks:
    """What ``AsyncBridgeClient.webhooks`` is."""

    def __init__(self, exchange: Callable[[Call[Any]], Awaitable[Any]]) -> None:
        self._exchange = exchange

    async def list(self) -> Sequence[WebhookModel]:
        """All webhooks in the order they were made."""
        found: Page[WebhookModel] = await self._exchange(
            Call(method="GET", path="/webhooks", parse=page_reader(WebhookModel))
        )
        return found.items

    async def add(
        self,
        url: str,
        *,
        types: Sequence[str] = (),
        project: str = "",
        description: str = "",
        secret: str | None = None,
    ) -> WebhookModel:
        """Tell ``url`` of events from now on. Only this answer has the secret.

        ``types`` are types or their beginnings (``run.settled``, ``run.*``); none: all. Without ``project``
        it hears of all projects. A repeated call makes another webhook.
        """
        # The bridge judges it, so that a mistake is told in one way.
        request = WebhookRequest.model_construct(
            url=url, types=list(types), project=project, description=description, secret=secret
        )
        body = request.model_dump(mode="json", exclude_none=True)
        return await self._hook("POST", "/webhooks", body)

    async def get(self, webhook_id: UUID | str) -> WebhookModel:
        """A webhook, with how many messages are pending, delivered and dead."""
        return await self._hook("GET", _path(webhook_id))

    async def change(
        self,
        webhook_id: UUID | str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
        active: bool | None = None,
    ) -> WebhookModel:
        """Change what is given; ``active=False`` holds messages back until it is ``True`` again."""
        change = WebhookChange.model_construct(
            url=url, types=None if types is None else [*types], description=description, active=active
        )
        body = change.model_dump(mode="json", exclude_none=True)
        return await self._hook("PATCH", _path(webhook_id), body)

    async def remove(self, webhook_id: UUID | str) -> None:
        """Take it away with everything owed to it."""
        await self._exchange(Call(method="DELETE", path=_path(webhook_id), parse=read_nothing))

    async def rotate(self, webhook_id: UUID | str) -> WebhookModel:
        """Make a new secret, which the answer has; for a day messages are signed with both."""
        return await self._hook("POST", f"{_path(webhook_id)}:rotate")

    async def test(self, webhook_id: UUID | str) -> WebhookTest:
        """Send one test message now, and tell what came of it."""
        call = Call(method="POST", path=f"{_path(webhook_id)}:test", parse=model_reader(WebhookTest))
        found: WebhookTest = await self._exchange(call)
        return found

    async def deliveries(
        self,
        webhook_id: UUID | str,
        *,
        state: DeliveryState | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[DeliveryModel]:
        """One page of its messages, newest first."""
        params = {"limit": str(limit)} | ({} if state is None else {"state": state})
        if cursor is not None:
            params["cursor"] = cursor
        path = f"{_path(webhook_id)}/deliveries"
        found: Page[DeliveryModel] = await self._exchange(
            Call(method="GET", path=path, parse=page_reader(DeliveryModel), params=params)
        )
        return found

    async def redeliver(self, webhook_id: UUID | str, delivery_id: int | None = None) -> int:
        """Send everything that was given up once more, or one message; how many those are."""
        one = "" if delivery_id is None else f"/deliveries/{delivery_id}"
        path = f"{_path(webhook_id)}{one}:redeliver"
        count: int = await self._exchange(Call(method="POST", path=path, parse=_redelivered))
        return count

    async def _hook(self, method: str, path: str, body: Any = None) -> WebhookModel:
        found: WebhookModel = await self._exchange(Call(method=method, path=path, parse=_HOOK, body=body))
        return found


class Webhooks:
    """What ``BridgeClient.webhooks`` is: the methods of ``AsyncWebhooks``, blocking."""

    def __init__(self, webhooks: AsyncWebhooks) -> None:
        self._webhooks = webhooks

    def list(self) -> Sequence[WebhookModel]:
        return run_blocking(self._webhooks.list())

    def add(
        self,
        url: str,
        *,
        types: Sequence[str] = (),
        project: str = "",
        description: str = "",
        secret: str | None = None,
    ) -> WebhookModel:
        adding = self._webhooks.add(url, types=types, project=project, description=description, secret=secret)
        return run_blocking(adding)

    def get(self, webhook_id: UUID | str) -> WebhookModel:
        return run_blocking(self._webhooks.get(webhook_id))

    def change(
        self,
        webhook_id: UUID | str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        description: str | None = None,
        active: bool | None = None,
    ) -> WebhookModel:
        changing = self._webhooks.change(
            webhook_id, url=url, types=types, description=description, active=active
        )
        return run_blocking(changing)

    def remove(self, webhook_id: UUID | str) -> None:
        run_blocking(self._webhooks.remove(webhook_id))

    def rotate(self, webhook_id: UUID | str) -> WebhookModel:
        return run_blocking(self._webhooks.rotate(webhook_id))

    def test(self, webhook_id: UUID | str) -> WebhookTest:
        return run_blocking(self._webhooks.test(webhook_id))

    def deliveries(
        self,
        webhook_id: UUID | str,
        *,
        state: DeliveryState | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[DeliveryModel]:
        return run_blocking(self._webhooks.deliveries(webhook_id, state=state, cursor=cursor, limit=limit))

    def redeliver(self, webhook_id: UUID | str, delivery_id: int | None = None) -> int:
        return run_blocking(self._webhooks.redeliver(webhook_id, delivery_id))


def _path(webhook_id: UUID | str) -> str:
    return f"/webhooks/{quote(str(webhook_id), safe='')}"


def _redelivered(response: httpx.Response) -> int:
    return int(json.loads(response.content)["redelivered"])
