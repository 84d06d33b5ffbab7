"""Waiting for a run, and the stream of events."""

from __future__ import annotations

from uuid import UUID

import httpx
import pytest

from bridge.client.errors import BridgeBadAnswer, BridgeUnreachable, RunTimeout
from bridge.client.models import EventModel, RunModel
from tests.unit.client.clients import Clock, EitherClient, MakeClient, refused
from tests.unit.client.fake_bridge import NOW, FakeBridge, make_run, over


async def test_a_run_is_waited_for_by_long_polls(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(state="PENDING"), {"state": "RUNNING"}, over())
    seen: list[str] = []
    ended = await client.call("wait_run", run.run_id, on_change=lambda one: seen.append(one.state))
    assert ended.state == "SUCCEEDED"
    assert seen == ["PENDING", "RUNNING", "SUCCEEDED"]
    polls = [request.url.params for request in bridge.requests[1:]]
    assert [(poll["wait"], poll["version"]) for poll in polls] == [("30s", "1"), ("30s", "2")]


async def test_a_run_that_is_over_is_not_waited_for(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(**over("FAILED")))
    assert (await client.call("wait_run", run.run_id)).state == "FAILED"
    assert len(bridge.requests) == 1


async def test_the_bridge_may_be_away_meanwhile(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(), over())
    first = await client.call("get_run", run.run_id)
    bridge.trouble = [httpx.ReadTimeout("timed out"), refused(), httpx.Response(503)]
    assert not first.over
    assert (await client.call("wait_run", run.run_id)).over


async def test_a_bridge_that_stays_away_ends_the_waiting(make_client: MakeClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    bridge.refuse = lambda request: httpx.Response(503) if "wait" in request.url.params else None
    with pytest.raises(BridgeUnreachable, match="the bridge behind it is away"):
        await make_client(patience_seconds=30).call("wait_run", run.run_id)


async def test_a_timeout_keeps_the_run_as_it_was_seen_last(
    client: EitherClient, bridge: FakeBridge, clock: Clock
) -> None:
    run = bridge.add(make_run(), {"state": "PAUSED"})
    with pytest.raises(RunTimeout, match="it goes on") as caught:
        await client.call("wait_run", run.run_id, timeout_seconds=5)
    assert caught.value.run.state == "PAUSED"
    assert clock.time <= 1006
    assert bridge.requests[1].url.params["wait"] == "5s"


async def test_a_service_that_does_not_wait_is_not_asked_without_a_pause(
    client: EitherClient, bridge: FakeBridge, clock: Clock
) -> None:
    run = bridge.add(make_run())
    with pytest.raises(RunTimeout):
        await client.call("wait_run", run.run_id, timeout_seconds=60)
    assert len(bridge.requests) <= 62


async def test_an_abandoned_attempt_is_followed_by_its_successor(
    client: EitherClient, bridge: FakeBridge
) -> None:
    key = UUID(int=7)
    abandoned = bridge.add(
        make_run("first", submission_key=key), over("CANCELED", phase="ABANDONED", good=False)
    )
    successor = bridge.add(make_run("second", submission_key=key, attempt=2), over())
    ended: RunModel = await client.call("wait_run", abandoned.run_id)
    assert (ended.run_id, ended.state) == (successor.run_id, "SUCCEEDED")


async def test_an_abandoned_run_without_successor_is_the_end(
    client: EitherClient, bridge: FakeBridge
) -> None:
    run = bridge.add(make_run(), over("CANCELED", phase="ABANDONED"))
    assert (await client.call("wait_run", run.run_id)).phase == "ABANDONED"


def frame(number: int, kind: str = "run.changed") -> str:
    event = EventModel(number=number, type=kind, time=NOW, run_id=UUID(int=number))
    return f"id: {number}\nevent: {kind}\ndata: {event.model_dump_json()}\n\n"


def stream(*parts: str) -> httpx.Response:
    return httpx.Response(200, content="".join(parts), headers={"content-type": "text/event-stream"})


async def test_events_come_as_messages(client: EitherClient, bridge: FakeBridge) -> None:
    bridge.streams = [stream("retry: 2000\n\n", frame(1), ": heartbeat\n\n", frame(2))]
    events = await client.take("events", most=2)
    assert [event.number for event in events] == [1, 2]
    assert "last-event-id" not in bridge.requests[0].headers
    assert bridge.requests[0].headers["accept"] == "text/event-stream"


async def test_a_broken_stream_goes_on_where_it_broke(
    client: EitherClient, bridge: FakeBridge, clock: Clock
) -> None:
    bridge.streams = [
        stream("retry: 2000\n\n", frame(8), "id: 9\ndata: {half"),
        refused(),
        stream(frame(9), frame(9), frame(10)),
    ]
    connected: list[int] = []
    events = await client.take("events", 7, most=3, on_connect=lambda: connected.append(1))
    assert [event.number for event in events] == [8, 9, 10]
    assert [request.headers["last-event-id"] for request in bridge.requests] == ["7", "8", "8"]
    assert len(connected) == 2
    assert 2.0 in clock.slept


async def test_the_bridge_says_where_a_stream_stands(client: EitherClient, bridge: FakeBridge) -> None:
    # A number below the last one seen: the bridge's database was replaced.
    bridge.streams = [stream("id: 7\n\n"), stream("id: 2\n: events after 2\n\n", frame(3))]
    events = await client.take("events", most=1)
    assert [event.number for event in events] == [3]
    assert [request.headers.get("last-event-id") for request in bridge.requests] == [None, "7"]


async def test_a_stream_that_cannot_be_opened_ends_with_the_patience(
    make_client: MakeClient, bridge: FakeBridge
) -> None:
    bridge.streams = [refused() for _ in range(10_000)]
    with pytest.raises(BridgeUnreachable):
        await make_client(patience_seconds=10).take("events")


async def test_something_that_is_no_event_is_told(client: EitherClient, bridge: FakeBridge) -> None:
    bridge.streams = [stream("data: <html>\n\n")]
    with pytest.raises(BridgeBadAnswer, match="no event"):
        await client.take("events")


async def test_data_over_several_lines_is_one_event(client: EitherClient, bridge: FakeBridge) -> None:
    lines = EventModel(number=3, type="t", time=NOW).model_dump_json(indent=1).splitlines()
    bridge.streams = [stream("".join(f"data: {line}\n" for line in lines), "\n")]
    assert (await client.take("events", most=1))[0].number == 3
