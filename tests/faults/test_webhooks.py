"""Every event reaches a webhook at least once, whatever dies in between."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

from tests.faults.pipelines import trains
from tests.faults.stage import Stage, eventually, on_both
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver

_IMPATIENT = {"KFBRIDGE_WEBHOOK_RETRY_SECONDS": "0.2", "KFBRIDGE_WEBHOOK_LONGEST_RETRY_SECONDS": "0.5"}
_TOLD = {"run.created", "run.changed", "run.ended", "run.mirrored", "run.settled"}


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as one:
        yield one


@on_both
def test_events_reach_a_webhook_through_its_troubles_and_the_death_of_the_service(
    stage: Stage, receiver: WebhookReceiver
) -> None:
    receiver.status = 503
    with stage.serving(_IMPATIENT) as service:
        hook = service.client.post("/api/v1/webhooks", json={"url": receiver.url}).json()
        run = service.submit(trains(), arguments={"epochs": 2})
        service.wait(run, over=True)
        eventually(lambda: len(receiver.messages) >= 3, "attempts while the receiver has no room")
        service.process.stop(signal.SIGKILL)
    receiver.status = 204
    refused = len(receiver.messages)
    with stage.serving(_IMPATIENT) as service:
        path = f"/api/v1/webhooks/{hook['webhook_id']}"

        def all_taken() -> bool:
            counts = service.client.get(path).json()["deliveries"]
            return counts.get("pending", 0) == 0 and counts.get("delivered", 0) > 0

        eventually(all_taken, "everything taken")
        told = receiver.events(hook["secret"])[refused:]
        numbers = {int(event["sequence"]) for event in told}
        listed = service.client.get(f"{path}/deliveries", params={"limit": 200}).json()["items"]
        assert numbers == {one["number"] for one in listed}
        assert receiver.types(hook["secret"]) >= _TOLD
        (settled,) = {event["id"] for event in told if event["type"] == "kfbridge.run.settled"}
        assert settled in {headers["webhook-id"] for headers, _ in receiver.messages}


def test_a_receiver_that_hangs_delays_no_other(stage: Stage, receiver: WebhookReceiver) -> None:
    # Nobody ever answers there.
    with socket.create_server(("127.0.0.1", 0)) as silent, stage.serving(_IMPATIENT) as service:
        port = silent.getsockname()[1]
        slow = service.client.post("/api/v1/webhooks", json={"url": f"http://127.0.0.1:{port}/"}).json()
        quick = service.client.post("/api/v1/webhooks", json={"url": receiver.url}).json()
        run = service.submit(trains(), arguments={"epochs": 2})
        service.wait(run, over=True)
        eventually(
            lambda: "run.settled" in receiver.types(quick["secret"]), "the other receiver told", seconds=8
        )
        counts = service.client.get(f"/api/v1/webhooks/{slow['webhook_id']}").json()["deliveries"]
        assert counts.get("delivered", 0) == 0
        assert counts["pending"] >= 3
