"""Every OpenLineage event reaches the consumer at least once and in order, whatever dies in between."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.pipelines import trains
from tests.faults.stage import Stage, eventually, on_both
from tests.support.openlineage_spec import check_event, needs_specification
from tests.support.webhook_receiver import WebhookReceiver, webhook_receiver


@pytest.fixture
def consumer() -> Iterator[WebhookReceiver]:
    with webhook_receiver() as one:
        yield one


def told(consumer: WebhookReceiver, run: dict[str, Any]) -> dict[str, list[str]]:
    """The types of the events that were taken of a run and of its tasks, by job."""
    found: dict[str, list[str]] = {}
    for body in list(consumer.taken):
        event = json.loads(body)
        parent = event["run"]["facets"].get("parent", {}).get("run", {}).get("runId")
        if run["kfp_run_id"] in (event["run"]["runId"], parent):
            found.setdefault(event["job"]["name"], []).append(event["eventType"])
    return found


@on_both
@needs_specification
def test_lineage_reaches_its_consumer_through_its_troubles_and_the_death_of_the_service(
    stage: Stage, consumer: WebhookReceiver
) -> None:
    settings = {
        "KFBRIDGE_OPENLINEAGE_URL": consumer.url,
        "KFBRIDGE_OPENLINEAGE_RETRY_SECONDS": "0.2",
        "KFBRIDGE_OPENLINEAGE_LONGEST_RETRY_SECONDS": "0.5",
    }
    consumer.status = 503
    with stage.serving(settings) as service:
        run = service.submit(trains(), arguments={"epochs": 2})
        # Whoever waits is not held up by a consumer that is away.
        run = service.wait(run, over=True)
        assert run["state"] == "SUCCEEDED"
        eventually(lambda: len(consumer.messages) >= 2, "attempts while the consumer has no room")

        def waiting() -> bool:
            status = service.client.get("/api/v1/status").json()["openlineage"]
            return bool(status["waiting_runs"] == 1 and status["failing_since"])

        eventually(waiting, "the status tells what is owed")
        service.process.stop(signal.SIGKILL)
    consumer.status = 201
    with stage.serving(settings) as service:

        def nothing_owed() -> bool:
            status = service.client.get("/api/v1/status").json()["openlineage"]
            return bool(status["waiting_runs"] == status["unread_events"] == 0)

        eventually(nothing_owed, "everything taken")
        found = told(consumer, run)
        assert set(found) == {"trains", "trains.train", "trains.evaluate"}
        for types in found.values():
            assert (types[0], types[-1], types.count("COMPLETE")) == ("START", "COMPLETE", 1)
        events = [json.loads(body) for body in consumer.taken]
        for event in events:
            check_event(event)
        assert events[-1]["run"]["facets"]["kfbridge_metrics"]["metrics"]["evaluate.auc"] == 0.8
