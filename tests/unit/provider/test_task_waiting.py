"""Waiting for tasks of a run: the asking is shared, bounded, and outlives outages."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pkgutil import resolve_name
from typing import Any
from uuid import uuid4

import pytest

from bridge.client.api import AsyncBridgeClient
from bridge.client.models import OriginModel, SubmitRequest
from bridge.provider import task_waiting, waiting
from bridge.provider.task_waiting import OpenSource, TaskWaited, wait_for_task
from bridge.provider.taskgroup_trigger import KubeflowTaskTrigger
from bridge.provider.taskgroup_verdict import Verdict, Wanted
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task, problem

Waiters = list[asyncio.Task[TaskWaited]]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 0.2)
    monkeypatch.setattr(task_waiting, "SHORTEST_INTERVAL_SECONDS", 0.01)
    monkeypatch.setattr(task_waiting, "LONGEST_INTERVAL_SECONDS", 0.05)


class World:
    """A bridge in memory with one run in it, and who waits for its tasks."""

    def __init__(self) -> None:
        self.fake = FakeBridge()
        self.fake.next_end = None
        self.opened = 0
        self.closed = 0
        self.run_id = ""
        self.told: list[str] = []

    @asynccontextmanager
    async def source(self) -> AsyncIterator[AsyncBridgeClient]:
        self.opened += 1
        try:
            async with AsyncBridgeClient(
                "http://bridge.example", patience_seconds=0, transport=self.fake.async_transport()
            ) as client:
                yield client
        finally:
            self.closed += 1

    async def submit(self) -> None:
        origin = OriginModel(dag_id="d", dag_run_id=str(uuid4()), task_id="t")
        async with self.source() as client:
            self.run_id = str((await client.submit(SubmitRequest(spec="x", origin=origin))).run_id)
        self.opened = self.closed = 0

    def wait(self, path: str, **options: Any) -> asyncio.Task[TaskWaited]:
        options = {"patience_seconds": 60.0, "shared_by": "bridge", "tell": self.told.append, **options}
        wanted = Wanted(path=path, loop=options.pop("loop", False))
        open_source: OpenSource = options.pop("source", self.source)
        return asyncio.create_task(wait_for_task(open_source, self.run_id, wanted, **options))

    def tasks_are(self, **states: str) -> None:
        self.fake.runs[self.run_id].tasks = [a_task(path, state) for path, state in states.items()]

    def asked_for_tasks(self) -> int:
        return sum(seen.path.endswith("/tasks") for seen in self.fake.requests)


def within(case: Callable[[World], Any]) -> World:
    world = World()

    async def go() -> None:
        await world.submit()
        await case(world)

    asyncio.run(go())
    assert world.opened == world.closed
    return world


def test_many_tasks_of_one_run_share_what_is_asked() -> None:
    async def case(world: World) -> None:
        waiters = [world.wait(f"t{n}") for n in range(50)]
        while world.asked_for_tasks() < 3:
            await asyncio.sleep(0.005)
        world.tasks_are(**{f"t{n}": "SUCCEEDED" for n in range(25)})
        for waited in await asyncio.gather(*waiters[:25]):
            assert waited.judgement is not None
            assert waited.judgement.verdict is Verdict.SUCCESS
        assert not any(waiter.done() for waiter in waiters[25:])
        world.fake.finish(world.run_id, End(tasks=(a_task("t30", "SKIPPED"),)))
        verdicts = [waited.judgement for waited in await asyncio.gather(*waiters[25:])]
        assert {judged.verdict for judged in verdicts if judged} == {Verdict.SKIP}

    world = within(case)
    assert world.opened == 1
    assert world.asked_for_tasks() < 50


def test_a_task_is_told_of_itself_only_and_a_loop_of_its_iterations() -> None:
    async def case(world: World) -> None:
        loop_told: list[str] = []
        waiters = [world.wait("train"), world.wait("loop", loop=True, tell=loop_told.append)]
        world.fake.runs[world.run_id].tasks = [a_task("loop", "RUNNING"), a_task("loop[0]", "RUNNING")]
        while not loop_told:
            await asyncio.sleep(0.005)
        tasks = (a_task("loop"), a_task("loop[0]"), a_task("train", cached=True))
        world.fake.finish(world.run_id, End(tasks=tasks))
        await asyncio.gather(*waiters)
        assert loop_told == [
            "  loop: RUNNING",
            "  loop[0]: RUNNING",
            "  loop: SUCCEEDED",
            "  loop[0]: SUCCEEDED",
        ]

    assert within(case).told == ["  train: SUCCEEDED (cached)"]


def test_the_asking_ends_with_the_last_who_waits() -> None:
    async def case(world: World) -> None:
        waiters = [world.wait("a"), world.wait("b")]
        while not world.asked_for_tasks():
            await asyncio.sleep(0.005)
        waiters[0].cancel()
        await asyncio.wait({waiters[0]})
        assert (world.opened, world.closed) == (1, 0)
        waiters[1].cancel()
        await asyncio.wait({waiters[1]})

    world = within(case)
    assert world.fake.cancels == []


def test_the_deadline_and_an_older_version_of_the_run() -> None:
    async def case(world: World) -> None:
        world.fake.finish(world.run_id, End(state="FAILED", tasks=(a_task("a", "FAILED"),)))
        version = world.fake.runs[world.run_id].run.version
        late = world.wait("a", at_least_version=version + 1, deadline=time.time() + 0.2)
        assert (await late).ending == "timeout"
        judged = (await world.wait("a", at_least_version=version)).judgement
        assert judged is not None
        assert judged.verdict is Verdict.FAIL

    within(case)


@pytest.mark.parametrize(
    "trouble",
    [
        lambda fake: setattr(fake, "outages", 3),
        lambda fake: fake.problems.extend([problem(503, "database-unavailable", "away", retryable=True)] * 3),
        lambda fake: fake.problems.extend([problem(401, "unauthorized", "rotated")] * 3),
    ],
)
def test_what_may_pass_ends_nothing(trouble: Callable[[FakeBridge], None]) -> None:
    async def case(world: World) -> None:
        def strike(seen: Seen) -> None:
            world.fake.on_request = None
            trouble(world.fake)

        world.fake.next_end = End(tasks=(a_task("a"),))
        world.fake.on_request = strike
        waiter = world.wait("a")
        while world.fake.on_request is not None:
            await asyncio.sleep(0.005)
        world.fake.finish(world.run_id, End(tasks=(a_task("a"),)))
        assert (await waiter).ending == "judged"

    told = within(case).told
    assert sum("The bridge cannot be asked" in line for line in told) == 1
    assert sum("The bridge answers again" in line for line in told) == 1


def test_patience_ends_for_all_who_share_it() -> None:
    async def case(world: World) -> None:
        world.fake.outages = 10_000
        waiters = [world.wait(path, patience_seconds=0.2) for path in "ab"]
        assert {waited.ending for waited in await asyncio.gather(*waiters)} == {"away"}

    assert within(case).opened == 1


def test_a_run_that_the_bridge_does_not_know_is_gone() -> None:
    async def case(world: World) -> None:
        world.fake.runs.clear()
        assert (await world.wait("a")).ending == "gone"

    within(case)


def test_what_nobody_foresaw_is_raised_by_all() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[Any]:
        raise RuntimeError("no such certificate")
        yield

    async def case(world: World) -> None:
        waiters = [world.wait(path, source=broken) for path in "ab"]
        for raised in await asyncio.gather(*waiters, return_exceptions=True):
            assert isinstance(raised, RuntimeError)

    within(case)


@pytest.mark.parametrize(
    "trigger",
    [
        KubeflowTaskTrigger(run_id="0a", kfbridge_conn_id="c", path="a.b"),
        KubeflowTaskTrigger(
            run_id="0a",
            kfbridge_conn_id="c",
            path="loop",
            loop=True,
            retries=2,
            again=True,
            at_least_version=7,
            revived=True,
            patience_seconds=5,
            deadline=12.5,
        ),
    ],
)
def test_a_trigger_comes_back_as_it_went(trigger: KubeflowTaskTrigger) -> None:
    path, kwargs = trigger.serialize()
    assert json.loads(json.dumps(kwargs)) == kwargs
    again = resolve_name(path)(**kwargs)
    assert type(again) is KubeflowTaskTrigger
    assert again.serialize() == (path, kwargs)
