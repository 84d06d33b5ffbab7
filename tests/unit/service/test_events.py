from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.domain.access import Principal, Role
from bridge.lineage import outbox
from bridge.lineage.database import Database
from bridge.service.access.caller import NOBODY, Caller
from bridge.service.routes import events as routes
from bridge.service.routes.events import _stream
from tests.unit.service.harness import Harness, harness


async def everybody() -> Caller:
    return Caller(NOBODY)


async def frames(stream: Any, count: int) -> list[dict[str, Any]]:
    """The next events of a stream; comments are passed over."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        async for text in stream:
            fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
            if "data" in fields:
                event = json.loads(fields["data"])
                assert (fields["id"], fields["event"]) == (str(event["number"]), event["type"])
                found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_are_told_in_order_and_without_gaps(service: Harness) -> None:
    run = await service.submitted()
    await service.ended(run)
    await service.sequencer.step()
    events = await frames(_stream(service.context, everybody, 0, None), 4)
    assert [event["number"] for event in events] == [1, 2, 3, 4]
    assert events[0]["type"] == "run.created"
    assert events[0]["data"]["project"] == "default"
    again = await frames(_stream(service.context, everybody, 2, None), 2)
    assert again == events[2:]


async def test_a_stream_begins_with_the_number_it_starts_after(service: Harness) -> None:
    run = await service.submitted()
    await service.ended(run)
    await service.sequencer.step()
    newest = len(await frames(_stream(service.context, everybody, 0, None), 6))
    service.context.stop_waiting()
    for headers, start in (({}, newest), ({"Last-Event-ID": "2"}, 2), ({"Last-Event-ID": "99"}, newest)):
        answer = await service.client.get("/api/v1/events", headers=headers)
        assert answer.text == f"retry: 2000\nid: {start}\n: events after {start}\n\n"


async def test_what_happens_while_a_reader_reads_is_told_at_once(database: Database) -> None:
    async with harness(database, change_poll_seconds=60, heartbeat_seconds=60) as service:
        stream = _stream(service.context, everybody, 0, None)
        await anext(stream)
        for key in ("a", "b"):
            await service.submit(key)
            # The first is told while the reader is away, handling the frame before.
            await service.sequencer.step()
            (event,) = await frames(stream, 1)
            assert event["type"] == "run.created"
        await stream.aclose()


async def test_what_another_process_did_is_told_within_its_poll(database: Database) -> None:
    async with harness(database) as service, harness(database) as worker:
        reading = asyncio.create_task(frames(_stream(service.context, everybody, 0, None), 6))
        run = await worker.submitted()
        await worker.ended(run)
        await worker.sequencer.step()
        events = await reading
        assert "run.settled" in {event["type"] for event in events}


async def test_a_reader_is_woken_by_what_happens(service: Harness) -> None:
    reading = asyncio.create_task(frames(_stream(service.context, everybody, 0, None), 1))
    await asyncio.sleep(0)
    run = (await service.submit()).json()
    await service.sequencer.step()
    (event,) = await reading
    assert event["run_id"] == run["run_id"]


async def test_only_the_events_of_one_run(service: Harness) -> None:
    await service.submitted("a")
    second = await service.submitted("b")
    await service.sequencer.step()
    from uuid import UUID

    (event,) = await frames(_stream(service.context, everybody, 0, UUID(second["run_id"])), 1)
    assert event["run_id"] == second["run_id"]


async def test_an_idle_stream_has_a_heartbeat_and_ends_with_the_service(database: Database) -> None:
    async with harness(database, heartbeat_seconds=0.02) as service:
        stream = _stream(service.context, everybody, 0, None)
        told = []
        async with asyncio.timeout(10):
            async for text in stream:
                told.append(text)
                if len(told) == 3:
                    service.context.stop_waiting()
        assert told[0].startswith("retry: ")
        assert told[1:] == [": heartbeat\n\n"] * 2


@pytest.mark.parametrize("last", ["x", "-1"])
async def test_a_last_event_id_is_a_number(service: Harness, last: str) -> None:
    answer = await service.client.get("/api/v1/events", headers={"Last-Event-ID": last})
    assert answer.status_code == 422


async def test_others_events_are_passed_over_for_good(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_WINDOW", 3)
    for key, project in (("a", "theirs"), ("b", "theirs"), ("c", "ours"), ("d", "theirs")):
        await service.submitted(key, project=project)
    await service.sequencer.step()
    caller = Caller(Principal(name="a", kind="token", grants={"ours": Role.VIEWER}))

    async def one_of_ours() -> Caller:
        return caller

    newest = await service.context.store.read(outbox.last_number)
    assert newest > 9
    found, looked_at = await routes._after(service.context, caller, 0, None)
    assert (found, looked_at) == ([], 3)
    stream = _stream(service.context, one_of_ours, 0, None)
    told = await frames(stream, 2)
    assert {event["data"]["project"] for event in told if "project" in event["data"]} == {"ours"}
    object.__setattr__(service.context.settings, "heartbeat_seconds", 0.0)
    async with asyncio.timeout(10):
        while "heartbeat" not in (text := await anext(stream)):
            assert "theirs" not in text
    assert text == f"id: {newest}\n: heartbeat\n\n"
    await stream.aclose()
