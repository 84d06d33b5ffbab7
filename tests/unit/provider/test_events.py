"""``KubeflowEventTrigger``: what it fires for, where it goes on after a restart, one stream for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog

from bridge.client.models import EventModel, MetricModel, OriginModel, PipelineVersionModel, SubmitRequest
from bridge.provider import events as module
from bridge.provider.events import KubeflowEventTrigger
from bridge.provider.hooks import BridgeSettings
from tests.support.airflow_version import needs
from tests.support.fake_bridge import End, FakeBridge


class Store:
    """What Airflow keeps for the watched asset."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number

    async def aget(self, key: str) -> int | None:
        return self.number

    async def aset(self, key: str, value: int) -> None:
        self.number = value


class Feed:
    """The bridge with an event stream; ``asked`` is the Last-Event-ID of each connection to it."""

    def __init__(self) -> None:
        self.bridge = FakeBridge()
        self.events: list[EventModel] = []
        self.asked: list[str | None] = []
        self.refusals: list[int] = []

    def settled(self, pipeline: str = "flight-delay", type: str = "run.settled", **data: Any) -> str:
        """A run that ended, and the event that tells of it."""
        self.bridge.next_end = None
        request = SubmitRequest(
            pipeline=PipelineVersionModel(name=pipeline),
            origin=OriginModel(dag_id="d", dag_run_id=str(uuid4()), task_id="t"),
        )
        run_id: str = self.bridge._submit(request)[1]["run_id"]
        auc = MetricModel(key="e.auc", task_path="e", name="auc", value=0.7)
        self.bridge.finish(run_id, End(state=data.get("state", "SUCCEEDED"), metrics=(auc,)))
        told = {
            "run_id": run_id,
            "state": "SUCCEEDED",
            "good": True,
            "pipeline": pipeline,
            "project": "default",
        }
        number = len(self.events) + 1
        event = EventModel(
            number=number, type=type, time=datetime.now(UTC), run_id=run_id, data={**told, **data}
        )
        self.events.append(event)
        return run_id

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/events":
            return await self.bridge.async_transport().handle_async_request(request)
        if self.refusals:
            return httpx.Response(self.refusals.pop(0), json={})
        last = request.headers.get("last-event-id")
        self.asked.append(last)
        return httpx.Response(200, stream=_Stream([e for e in self.events if e.number > int(last or 0)]))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, events: list[EventModel]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"retry: 100\n: connected\n\n"
        for event in self._events:
            yield f"id: {event.number}\ndata: {event.model_dump_json()}\n\n".encode()


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    feed = Feed()
    client = BridgeSettings.async_client
    transport = httpx.MockTransport(feed.handle)
    monkeypatch.setenv("AIRFLOW_CONN_KFBRIDGE_DEFAULT", '{"conn_type": "kfbridge", "host": "http://bridge"}')
    monkeypatch.setattr(
        BridgeSettings, "async_client", lambda self, **o: client(self, transport=transport, **o)
    )
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(KubeflowEventTrigger, "_readers", {})
    return feed


async def fired(trigger: KubeflowEventTrigger, count: int) -> list[dict[str, Any]]:
    """The payloads of the first events."""
    payloads: list[dict[str, Any]] = []
    running = trigger.run()
    async for event in running:
        payloads.append(event.payload)
        if len(payloads) == count:
            break
    await running.aclose()
    return payloads


async def test_a_run_that_ended_is_told_with_its_facts(feed: Feed) -> None:
    run_id = feed.settled()
    (payload,) = await fired(KubeflowEventTrigger(), 1)
    assert json.loads(json.dumps(payload)) == payload
    assert (payload["number"], payload["run_id"], payload["pipeline"]) == (1, run_id, "flight-delay")
    assert (payload["state"], payload["good"], payload["project"]) == ("SUCCEEDED", True, "default")
    assert payload["metrics"] == {"e.auc": 0.7}


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({}, [1, 2, 4, 5]),
        ({"pipeline": "flight-delay"}, [1, 4]),
        ({"pipeline": ["flight-delay", "other"]}, [1, 2, 4]),
        ({"states": "failed"}, [2, 4]),
        ({"project": "winter"}, [5]),
        ({"good": True}, [1, 5]),
        ({"good": False, "pipeline": "other"}, [2]),
    ],
)
async def test_what_is_named_narrows(feed: Feed, options: dict[str, Any], numbers: list[int]) -> None:
    feed.settled()
    feed.settled("other", state="FAILED", good=False)
    feed.settled(type="run.changed")
    feed.settled(type="run.rejected", state="FAILED", good=False)
    feed.settled("third", project="winter")
    payloads = await fired(KubeflowEventTrigger(**options), len(numbers))
    assert [payload["number"] for payload in payloads] == numbers


async def test_a_run_that_cannot_be_read_is_told_all_the_same(feed: Feed) -> None:
    run_id = feed.settled()
    del feed.bridge.runs[run_id]
    (payload,) = await fired(KubeflowEventTrigger(), 1)
    assert (payload["run_id"], payload["state"]) == (run_id, "SUCCEEDED")
    assert "metrics" not in payload


async def test_after_a_restart_it_goes_on_where_it_stopped(feed: Feed) -> None:
    for _ in range(4):
        feed.settled()
    first = KubeflowEventTrigger()
    first.asset_state_store = Store()
    assert [payload["number"] for payload in await fired(first, 3)] == [1, 2, 3]
    assert first.asset_state_store.number == 2
    KubeflowEventTrigger._readers.clear()  # as in another process
    again = KubeflowEventTrigger()
    again.asset_state_store = Store(3)
    assert [payload["number"] for payload in await fired(again, 1)] == [4]
    assert feed.asked == [None, "3"]


async def test_a_bridge_that_refuses_is_asked_again(feed: Feed) -> None:
    feed.settled()
    feed.refusals = [401, 500]
    assert [payload["number"] for payload in await fired(KubeflowEventTrigger(), 1)] == [1]


@needs(3, 3, "shared streams")
async def test_airflow_shares_one_stream_that_begins_where_the_slowest_stopped(feed: Feed) -> None:
    from airflow.triggers.shared_stream import SharedStreamManager

    for pipeline in ("a", "b", "a"):
        feed.settled(pipeline)
    triggers = [KubeflowEventTrigger(pipeline="a"), KubeflowEventTrigger(pipeline="b")]
    triggers[0].asset_state_store, triggers[1].asset_state_store = Store(1), Store(0)
    manager = SharedStreamManager(log=structlog.get_logger(), max_subscriber_queue=100)
    keys = [trigger.shared_stream_key() for trigger in triggers]
    assert keys[0] == keys[1]
    streams = [
        manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        for number, (trigger, key) in enumerate(zip(triggers, keys, strict=True))
    ]

    async def first(trigger: KubeflowEventTrigger, stream: AsyncIterator[Any]) -> int:
        event = await anext(trigger.filter_shared_stream(stream))
        return event.payload["number"]

    async with asyncio.timeout(10):
        pairs = zip(triggers, streams, strict=True)
        assert await asyncio.gather(*(first(*pair) for pair in pairs)) == [3, 2]
    assert feed.asked[0] == "0"
    await manager.stop_all()


def test_it_comes_back_as_it_went() -> None:
    trigger = KubeflowEventTrigger(pipeline="a", states=["failed"], good=False, kfbridge_conn_id="c")
    path, kwargs = trigger.serialize()
    assert json.loads(json.dumps(kwargs)) == kwargs
    again = resolve_name(path)(**kwargs)
    assert again.serialize() == (path, kwargs)
    assert again.ends == trigger.ends
