"""Triggers at one hub, over real connections to a bridge that is stopped and started again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from bridge.provider import hub, waiting
from bridge.provider.following import Tempo
from bridge.provider.triggers import BridgeReadyTrigger, BridgeRunTrigger
from tests.support.fake_bridge import End, FakeBridge

TRIGGERS = 100
TASK = {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(hub, "USUAL_TEMPO", Tempo(poll=0.2, backoff=0.2))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def ending(trigger: BridgeRunTrigger | BridgeReadyTrigger) -> str:
    async for event in trigger.run():
        return str(event.payload["ending"])
    raise AssertionError("a trigger ended without an event")


def connect(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    connection = {"conn_type": "kfbridge", "host": url}
    monkeypatch.setenv("AIRFLOW_CONN_KFBRIDGE_DEFAULT", json.dumps(connection))


def a_trigger(run_id: str) -> BridgeRunTrigger:
    return BridgeRunTrigger(
        run_id=run_id, kfbridge_conn_id="kfbridge_default", task=TASK, submission_key=None, try_number=1
    )


async def test_a_bridge_that_is_started_again_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeBridge()
    fake.next_end = None
    runs = [fake.submit() for _ in range(TRIGGERS)]
    with fake.serving() as url:
        connect(monkeypatch, url)
        triggers = [asyncio.create_task(ending(a_trigger(run_id))) for run_id in runs]
        await until(lambda: sum(len(seen.query["ids"].split(",")) for seen in fake.requests) >= TRIGGERS)
        assert len(fake.opened) == 1
        for run_id in runs[:20]:
            fake.finish(run_id, End())
        assert await asyncio.gather(*triggers[:20]) == ["over"] * 20
    for run_id in runs[20:60]:
        fake.finish(run_id, End())
    ready = asyncio.create_task(
        ending(BridgeReadyTrigger(kfbridge_conn_id="kfbridge_default", give_up_at=9e9))
    )
    assert not any(trigger.done() for trigger in triggers[20:])
    with fake.serving(port=urlsplit(url).port or 0):
        assert await asyncio.gather(*triggers[20:60]) == ["over"] * 40
        assert await ready == "over"
        await until(lambda: len(fake.streams) == 1)
        for run_id in runs[60:]:
            fake.finish(run_id, End())
        assert await asyncio.gather(*triggers[60:]) == ["over"] * 40
