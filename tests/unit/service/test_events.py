from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.lineage.database import Database
from bridge.service.routes.events import _stream
from tests.unit.service.harness import Harness, harness


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
    events = await frames(_stream(service.context, 0, None), 4)
    assert [event["number"] for event in events] == [1, 2, 3, 4]
    assert events[0]["type"] == "run.created"
    assert events[0]["data"]["project"] == "default"
    again = await frames(_stream(service.context, 2, None), 2)
    assert again == events[2:]


async def test_a_reader_is_woken_by_what_happens(service: Harness) -> None:
    reading = asyncio.create_task(frames(_stream(service.context, 0, None), 1))
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

    (event,) = await frames(_stream(service.context, 0, UUID(second["run_id"])), 1)
    assert event["run_id"] == second["run_id"]


async def test_an_idle_stream_has_a_heartbeat_and_ends_with_the_service(database: Database) -> None:
    async with harness(database, heartbeat_seconds=0.02) as service:
        stream = _stream(service.context, 0, None)
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
