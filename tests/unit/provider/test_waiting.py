"""The one waiting logic, on a real event loop and against a bridge in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from bridge.client.api import AsyncBridgeClient
from bridge.client.errors import BridgeUnreachable
from bridge.client.models import OriginModel, SubmitRequest, TaskModel
from bridge.provider import waiting
from bridge.provider.waiting import Outage, Progress, Waited, wait_for_bridge, wait_for_run
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task, problem


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 0.2)


def client_of(fake: FakeBridge) -> AsyncBridgeClient:
    return AsyncBridgeClient("http://bridge.example", patience_seconds=0, transport=fake.async_transport())


async def submitted(client: AsyncBridgeClient) -> str:
    origin = OriginModel(dag_id="d", dag_run_id=str(uuid4()), task_id="t")
    return str((await client.submit(SubmitRequest(spec="x", origin=origin))).run_id)


def wait(fake: FakeBridge, *, patience: float = 60, limit: float | None = None) -> tuple[Waited, list[str]]:
    told: list[str] = []

    async def go() -> Waited:
        async with client_of(fake) as client:
            run_id = await submitted(client)
            deadline = None if limit is None else time.time() + limit
            return await wait_for_run(
                client, run_id, patience_seconds=patience, deadline=deadline, tell=told.append
            )

    return asyncio.run(go()), told


def test_it_tells_each_change_once() -> None:
    fake = FakeBridge()
    fake.next_end = End(tasks=(a_task(""), a_task("train"), a_task("evaluate", cached=True)))
    waited, told = wait(fake)
    assert waited.ending == "over"
    assert waited.run is not None
    assert waited.run.state == "SUCCEEDED"
    assert [line.rsplit(": ", 1)[-1] for line in told] == [
        "RUNNING",
        "SUCCEEDED",
        "SUCCEEDED",
        "SUCCEEDED (cached)",
    ]
    assert "  train: SUCCEEDED" in told


def test_the_deadline_ends_it_while_the_run_goes_on() -> None:
    fake = FakeBridge()
    fake.next_end = None
    waited, _ = wait(fake, limit=0.2)
    assert (waited.ending, waited.run) == ("timeout", None)
    assert fake.cancels == []


@pytest.mark.parametrize(
    "trouble",
    [
        lambda fake: setattr(fake, "outages", 3),
        lambda fake: fake.problems.extend([problem(503, "database-unavailable", "away", retryable=True)] * 3),
        lambda fake: fake.problems.extend([problem(401, "unauthorized", "rotated")] * 3),
        lambda fake: fake.problems.extend([problem(421, "unknown-host", "renamed")] * 3),
        lambda fake: fake.problems.extend([(200, "a login page")] * 3),
        lambda fake: fake.problems.extend([problem(500, "fault", "a fault of the bridge")] * 3),
    ],
)
def test_what_may_pass_never_ends_it(trouble: Callable[[FakeBridge], None]) -> None:
    fake = FakeBridge()

    def strike(seen: Seen) -> None:
        if seen.method == "GET":
            fake.on_request = None
            trouble(fake)

    fake.on_request = strike
    waited, told = wait(fake)
    assert waited.ending == "over"
    assert sum("The bridge cannot be asked" in line for line in told) == 1
    assert sum("The bridge answers again" in line for line in told) == 1


def test_patience_ends() -> None:
    fake = FakeBridge()

    def leave(seen: Seen) -> None:
        if "wait" in seen.query:
            fake.outages = 10_000

    fake.on_request = leave
    waited, _ = wait(fake, patience=0.3)
    assert waited.ending == "away"
    assert "cannot be connected to" in waited.message


def test_a_run_that_the_bridge_does_not_know_is_gone() -> None:
    fake = FakeBridge()

    async def go() -> Waited:
        async with client_of(fake) as client:
            return await wait_for_run(client, str(uuid4()), patience_seconds=60, tell=lambda _: None)

    assert asyncio.run(go()).ending == "gone"


@pytest.mark.parametrize("slow", [True, False])
def test_tasks_that_cannot_be_told_do_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    monkeypatch.setattr(waiting, "TELLING_SECONDS", 0.05)
    fake = FakeBridge()

    class Source(AsyncBridgeClient):
        async def tasks(self, run_id: object) -> list[TaskModel]:
            if slow:
                await asyncio.Event().wait()
            raise BridgeUnreachable("away", url="http://b", sent=False)

    async def go() -> tuple[Waited, list[str]]:
        told: list[str] = []
        transport = fake.async_transport()
        async with Source("http://bridge.example", patience_seconds=0, transport=transport) as source:
            run_id = await submitted(source)
            return await wait_for_run(source, run_id, patience_seconds=60, tell=told.append), told

    waited, told = asyncio.run(go())
    assert waited.ending == "over"
    assert told[-1].endswith("it took too long" if slow else "away")


def test_waiting_never_blocks_the_loop() -> None:
    fake = FakeBridge()
    fake.next_end = None

    async def go() -> int:
        ticks = 0
        async with client_of(fake) as client:
            run_id = await submitted(client)
            waiter = asyncio.create_task(
                wait_for_run(client, run_id, patience_seconds=60, tell=lambda _: None)
            )
            while not any("wait" in seen.query for seen in fake.requests):
                await asyncio.sleep(0)
            for _ in range(50):
                await asyncio.sleep(0.001)
                ticks += 1
            assert not waiter.done()
            fake.finish(run_id, End())
            assert (await waiter).ending == "over"
        return ticks

    assert asyncio.run(go()) == 50


def test_waiting_for_a_bridge_that_comes_back() -> None:
    fake = FakeBridge()
    fake.outages = 2

    async def go(patience: float) -> Waited:
        async with client_of(fake) as client:
            return await wait_for_bridge(client, patience_seconds=patience, tell=lambda _: None)

    assert asyncio.run(go(60)).ending == "over"
    fake.outages = 10_000
    assert asyncio.run(go(0.2)).ending == "away"


@contextmanager
def clock_at(*moments: float) -> Iterator[Callable[[], float]]:
    following = iter(moments)
    yield lambda: next(following)


def test_pauses_grow_and_end_with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 30.0)
    away = BridgeUnreachable("away", url="http://b", sent=False)
    with clock_at(0, 1, 3, 7, 99, 100) as clock:
        outage = Outage(100, lambda _: None, clock=clock, jitter=lambda _, ceiling: ceiling)
        assert [outage.pause_after(away) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 1.0, None]


def test_a_pause_is_never_shorter_than_the_bridge_asks_for() -> None:
    busy = BridgeUnreachable("busy", url="http://b", sent=True, retry_after_seconds=7.0)
    outage = Outage(100, lambda _: None, clock=lambda: 0.0, jitter=lambda low, _: low)
    assert outage.pause_after(busy) == 7.0


def test_a_run_of_thousands_of_tasks_does_not_flood_the_log() -> None:
    told: list[str] = []
    Progress(told.append).tasks_changed([a_task(f"loop.train[{n}]") for n in range(5000)])
    assert len(told) == waiting.MAX_LINES_PER_CHANGE + 1
    assert told[-1] == "  … and 4950 more tasks changed"
