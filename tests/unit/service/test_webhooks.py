"""Events sent to webhooks: signed, again after failures, given up and sent once more."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from bridge.client.api import AsyncBridgeClient
from bridge.client.webhooks import verify_webhook
from bridge.lineage.database import Database
from bridge.service.outgoing import AddressRefused, Outgoing, address_problem
from bridge.service.workers.deliver import Deliverer
from tests.unit.service.harness import Harness, harness

HOOKS = "/api/v1/webhooks"
TARGET = "http://127.0.0.1:9/hook"
Answer = Callable[[httpx.Request], httpx.Response]


class Receiver:
    """What a webhook's address does; ``answers`` are used up, then everything is taken."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: list[Answer] = []

    def outgoing(self) -> Outgoing:
        return Outgoing(timeout_seconds=5, private=True, transport=httpx.MockTransport(self._handle))

    def events(self, secret: str) -> list[dict[str, Any]]:
        return [verify_webhook(secret, dict(one.headers), one.content) for one in self.requests]

    def _handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self.answers.pop(0)(request) if self.answers else answered(204)


def answered(code: int, text: str = "", headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(code, stream=httpx.ByteStream(text.encode()), headers=headers)


def status(code: int, **headers: str) -> Answer:
    return lambda _: answered(code, "no room", headers)


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused", request=request)


@pytest.fixture
async def impatient(database: Database) -> AsyncIterator[Harness]:
    """A service that sends again at once, and three times."""
    settings = {"webhook_retry_seconds": 0.001, "webhook_longest_retry_seconds": 0.001, "webhook_attempts": 3}
    async with harness(database, **settings) as made:
        yield made


async def add(service: Harness, **body: Any) -> dict[str, Any]:
    answer = await service.client.post(HOOKS, json={"url": TARGET, **body})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def deliver(service: Harness, receiver: Receiver, rounds: int = 12) -> None:
    await service.sequencer.step()
    deliverer = Deliverer(service.context)
    async with receiver.outgoing() as outgoing:
        for _ in range(rounds):
            await deliverer.step(outgoing)
            await deliverer.drain()


async def counts(service: Harness, hook: dict[str, Any]) -> dict[str, int]:
    answer = await service.client.get(f"{HOOKS}/{hook['webhook_id']}")
    found: dict[str, int] = answer.json()["deliveries"]
    return found


async def test_a_run_is_told_as_signed_cloud_events(impatient: Harness) -> None:
    hook = await add(impatient, types=["run.created", "run.settled"])
    run = await impatient.submitted()
    await impatient.ended(run)
    receiver = Receiver()
    await deliver(impatient, receiver)
    # Two of them are under way at once, and the order in which they come is not promised.
    first, last = sorted(receiver.events(hook["secret"]), key=lambda event: str(event["sequence"]))
    assert (first["type"], last["type"]) == ("kfbridge.run.created", "kfbridge.run.settled")
    assert last["specversion"] == "1.0"
    assert last["subject"] == last["data"]["run_id"] == run["run_id"]
    assert last["data"]["state"] == "SUCCEEDED"
    assert last["data"]["good"] is True
    assert last["data"]["project"] == "default"
    assert first["sequence"] < last["sequence"]
    assert {one.headers["content-type"] for one in receiver.requests} == {"application/cloudevents+json"}
    assert {one.headers["host"] for one in receiver.requests} == {"127.0.0.1:9"}
    assert await counts(impatient, hook) == {"delivered": 2}


@pytest.mark.parametrize("trouble", [status(500), status(302, location="http://127.0.0.1:9/x"), broken])
async def test_what_was_not_taken_is_sent_again_under_the_same_id(
    impatient: Harness, trouble: Answer
) -> None:
    hook = await add(impatient, types=["run.created"])
    await impatient.submitted()
    receiver = Receiver()
    receiver.answers = [trouble, trouble]
    await deliver(impatient, receiver)
    ids = [one.headers["webhook-id"] for one in receiver.requests]
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert await counts(impatient, hook) == {"delivered": 1}
    shown = (await impatient.client.get(f"{HOOKS}/{hook['webhook_id']}")).json()
    assert shown["failing_since"] is None


async def test_what_nobody_takes_is_given_up_and_can_be_sent_once_more(impatient: Harness) -> None:
    hook = await add(impatient, types=["run.created"])
    await impatient.submitted()
    receiver = Receiver()
    receiver.answers = [status(500)] * 3
    await deliver(impatient, receiver)
    assert len(receiver.requests) == 3
    path = f"{HOOKS}/{hook['webhook_id']}"
    (dead,) = (await impatient.client.get(f"{path}/deliveries", params={"state": "dead"})).json()["items"]
    assert (dead["attempts"], dead["status"], dead["error"]) == (3, 500, "answered 500: no room")
    assert (await impatient.client.get(path)).json()["failing_since"] is not None
    again = await impatient.client.post(f"{path}:redeliver")
    assert again.json() == {"redelivered": 1}
    await deliver(impatient, receiver)
    assert len(receiver.requests) == 4
    assert await counts(impatient, hook) == {"delivered": 1}
    one = await impatient.client.post(f"{path}/deliveries/{dead['delivery_id']}:redeliver")
    assert one.json() == {"redelivered": 1}
    assert (await impatient.client.post(f"{path}/deliveries/99:redeliver")).status_code == 404


async def test_retry_after_is_honoured(database: Database) -> None:
    async with harness(database, webhook_retry_seconds=0.001) as service:
        await add(service, types=["run.created"])
        await service.submitted()
        receiver = Receiver()
        receiver.answers = [status(429, **{"retry-after": "600"})]
        await deliver(service, receiver)
        assert len(receiver.requests) == 1


async def test_a_receiver_that_is_gone_is_told_nothing_more(impatient: Harness) -> None:
    hook = await add(impatient)
    await impatient.submitted()
    receiver = Receiver()
    receiver.answers = [status(410)] * 20
    await deliver(impatient, receiver)
    shown = (await impatient.client.get(f"{HOOKS}/{hook['webhook_id']}")).json()
    assert shown["active"] is False
    assert "410" in shown["last_error"]


async def test_pausing_holds_messages_back(impatient: Harness) -> None:
    hook = await add(impatient, types=["run.created"])
    path = f"{HOOKS}/{hook['webhook_id']}"
    await impatient.client.patch(path, json={"active": False})
    await impatient.submitted()
    receiver = Receiver()
    await deliver(impatient, receiver)
    assert receiver.requests == []
    await impatient.client.patch(path, json={"active": True})
    await deliver(impatient, receiver)
    assert len(receiver.requests) == 1


async def test_the_client_does_all_of_it(impatient: Harness) -> None:
    transport = httpx.ASGITransport(impatient.app)
    async with AsyncBridgeClient("http://bridge", transport=transport) as client:
        hook = await client.webhooks.add(TARGET, types=["run.settled"], description="chat")
        assert hook.secret is not None
        (listed,) = await client.webhooks.list()
        assert (listed.webhook_id, listed.secret, listed.description) == (hook.webhook_id, None, "chat")
        changed = await client.webhooks.change(hook.webhook_id, types=["run.lost"], active=False)
        assert (changed.types, changed.active) == (["run.lost"], False)
        rotated = await client.webhooks.rotate(hook.webhook_id)
        assert rotated.secret not in (None, hook.secret)
        assert (await client.webhooks.deliveries(hook.webhook_id)).items == []
        assert await client.webhooks.redeliver(hook.webhook_id) == 0
        outcome = await client.webhooks.test(hook.webhook_id)
        assert (outcome.taken, outcome.status) == (False, None)
        await client.webhooks.remove(hook.webhook_id)
        assert await client.webhooks.list() == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"url": "ftp://receiver.example"}, "/url"),
        ({"url": TARGET, "types": ["run.setled"]}, "/types/0"),
        ({"url": TARGET, "secret": "whsec_c2hvcnQ="}, "/secret"),
        ({"url": TARGET, "colour": "red"}, "/colour"),
    ],
)
async def test_what_makes_no_webhook_is_refused(service: Harness, body: dict[str, Any], pointer: str) -> None:
    answer = await service.client.post(HOOKS, json=body)
    assert answer.status_code == 422, answer.text
    assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]
    assert (await service.client.get(HOOKS)).json()["items"] == []


async def test_secrets_are_shown_once(service: Harness) -> None:
    hook = await add(service)
    for answer in (
        await service.client.get(HOOKS),
        await service.client.get(f"{HOOKS}/{hook['webhook_id']}"),
    ):
        assert hook["secret"] not in answer.text
    assert json.loads(answer.text)["secret"] is None


@pytest.mark.parametrize(
    ("address", "private", "allowed"),
    [
        ("93.184.216.34", False, True),
        ("10.0.0.1", False, False),
        ("10.0.0.1", True, True),
        ("127.0.0.1", False, False),
        ("127.0.0.1", True, True),
        ("169.254.169.254", True, False),
        ("::ffff:169.254.169.254", True, False),
        ("::ffff:127.0.0.1", False, False),
        ("fe80::1", True, False),
        ("fd00::1", False, False),
        ("0.0.0.0", True, False),
        ("224.0.0.1", True, False),
        ("100.64.0.1", False, False),
    ],
)
def test_addresses_that_only_the_service_can_reach_are_refused(
    address: str, private: bool, allowed: bool
) -> None:
    problem = address_problem(ipaddress.ip_address(address), private=private)
    assert (problem is None) is allowed


async def test_a_private_address_is_not_even_asked() -> None:
    receiver = Receiver()
    transport = httpx.MockTransport(receiver._handle)
    async with Outgoing(timeout_seconds=5, private=False, transport=transport) as outgoing:
        with pytest.raises(AddressRefused, match="webhook_private_addresses"):
            await outgoing.post("http://127.0.0.1/hook", b"{}", {})
    assert receiver.requests == []
