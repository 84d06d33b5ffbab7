"""The hub: one connection for all who wait, on a real event loop and against a bridge in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from bridge.client.models import TaskModel
from bridge.client.network import AsyncNetwork
from bridge.provider import hub as hub_module
from bridge.provider import task_waiting, waiting
from bridge.provider.following import Tempo
from bridge.provider.hooks import BridgeSettings
from bridge.provider.hub import HubSource
from bridge.provider.task_waiting import wait_for_task
from bridge.provider.taskgroup_verdict import Verdict, Wanted
from bridge.provider.waiting import Waited, wait_for_bridge, wait_for_run
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task, problem

QUICK = Tempo(gather=0.01, silence=30, poll=0.05, recheck=300, backoff=0.05, no_stream=0.2)
Told = list[str]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LONGEST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def fake() -> FakeBridge:
    made = FakeBridge()
    made.next_end = None
    return made


@dataclass(frozen=True)
class Wire:
    """A connection to the bridge in memory."""

    fake: FakeBridge
    token: str | None = None
    url: str = "http://bridge.example"

    @property
    def connection(self) -> tuple[int, str | None]:
        return id(self.fake), self.token

    def async_network(self) -> AsyncNetwork:
        return AsyncNetwork(self.url, self.token, 30.0, self.fake.async_transport())


async def wait_at_hub(
    wire: Wire, run_id: str, told: Told | None = None, *, tempo: Tempo = QUICK, **options: Any
) -> Waited:
    source = HubSource(wire, reread=options.pop("reread", None), tempo=tempo)
    tell = told.append if told is not None else lambda _: None
    async with source:
        return await wait_for_run(source, run_id, **{"patience_seconds": 60, "tell": tell} | options)


def waiters(fake: FakeBridge, runs: list[str], **options: Any) -> list[asyncio.Task[Waited]]:
    return [asyncio.create_task(wait_at_hub(Wire(fake), run_id, **options)) for run_id in runs]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def questions(fake: FakeBridge) -> list[Seen]:
    return [seen for seen in fake.requests if "ids" in seen.query]


def asked(fake: FakeBridge) -> int:
    return sum(len(seen.query["ids"].split(",")) for seen in questions(fake))


def run(work: Coroutine[Any, Any, None]) -> None:
    """Runs it, and sees to it that nothing is left behind."""

    async def and_nothing_is_left() -> None:
        await work
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert not hub_module._hubs.get(asyncio.get_running_loop())

    asyncio.run(and_nothing_is_left())


def all_over(ended: list[Waited]) -> bool:
    return all(waited.ending == "over" and waited.run is not None for waited in ended)


def test_a_thousand_waiters_have_one_stream_and_few_questions(fake: FakeBridge) -> None:
    async def go() -> None:
        runs = [fake.submit() for _ in range(1000)]
        ending = waiters(fake, runs)
        await until(lambda: asked(fake) == 1000)
        assert len(fake.requests) == 5
        for run_id in runs:
            fake.finish(run_id, End())
        ended = await asyncio.gather(*ending)
        assert all_over(ended)
        assert [str(waited.run.run_id) for waited in ended if waited.run] == runs
        assert len(fake.opened) == 1
        assert len(questions(fake)) <= 50
        assert fake.streams == []

    run(go())


def listings(fake: FakeBridge) -> list[Seen]:
    return [seen for seen in fake.requests if seen.path.endswith("/tasks")]


def test_tasks_are_told_as_they_change_though_the_run_does_not(fake: FakeBridge) -> None:
    async def go() -> None:
        told: Told = []
        run_id = fake.submit()
        [ending] = waiters(fake, [run_id], told=told)
        await until(lambda: asked(fake) == 1 and len(fake.streams) == 1)
        fake.runs[run_id].tasks = [TaskModel(task_id="1", name="train", path="train", state="RUNNING")]
        fake.mirrored(run_id)
        await until(lambda: "  train: RUNNING" in told)
        assert len(listings(fake)) == 1
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


def test_tasks_that_were_there_before_the_wait_are_told_soon(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "SECOND_LOOK_SECONDS", 0.01)

    async def go() -> None:
        told: Told = []
        run_id = fake.submit()
        fake.runs[run_id].tasks = [TaskModel(task_id="1", name="train", path="train", state="RUNNING")]
        [ending] = waiters(fake, [run_id], told=told)
        await until(lambda: "  train: RUNNING" in told)
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


def test_who_waits_for_a_task_reads_the_tasks_only_when_they_have_changed(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_waiting, "SHORTEST_INTERVAL_SECONDS", 0.001)
    monkeypatch.setattr(task_waiting, "LONGEST_INTERVAL_SECONDS", 0.002)

    async def go() -> None:
        run_id = fake.submit()
        paths = ("train", "evaluate")
        ending = [
            asyncio.create_task(
                wait_for_task(
                    lambda: HubSource(Wire(fake), tempo=QUICK),
                    run_id,
                    Wanted(path=path),
                    shared_by="bridge",
                    patience_seconds=60,
                    tell=lambda _: None,
                )
            )
            for path in paths
        ]
        await until(lambda: len(listings(fake)) == 1 and len(fake.streams) == 1)
        for _ in range(50):
            await asyncio.sleep(0.002)
        assert (len(listings(fake)), asked(fake)) == (1, 1)
        for number, path in enumerate(paths, start=2):
            fake.runs[run_id].tasks.append(a_task(path))
            fake.mirrored(run_id)
            waited = await ending[number - 2]
            assert waited.judgement is not None
            assert waited.judgement.verdict is Verdict.SUCCESS
            assert (len(listings(fake)), asked(fake)) == (number, 1)

    run(go())


def test_tasks_that_cannot_be_read_are_not_asked_for_without_a_pause(fake: FakeBridge) -> None:
    async def go() -> None:
        told: Told = []
        run_id = fake.submit()
        [ending] = waiters(fake, [run_id], told=told)
        await until(lambda: asked(fake) == 1 and len(fake.streams) == 1)
        fake.fail_tasks = True
        fake.mirrored(run_id)
        await until(lambda: any("could not be read" in line for line in told))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(listings(fake)) == 1
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


def test_it_subscribes_before_it_asks(fake: FakeBridge) -> None:
    async def go() -> None:
        fake.on_request = lambda seen: streams.append(len(fake.streams))
        streams: list[int] = []
        run_id = fake.submit()
        fake.runs[run_id].end = End()
        assert all_over(await asyncio.gather(*waiters(fake, [run_id])))
        assert streams[0] == 1

    run(go())


def test_a_restart_of_the_bridge_loses_nobody(fake: FakeBridge) -> None:
    async def go() -> None:
        runs = [fake.submit() for _ in range(300)]
        told: Told = []
        ending = waiters(fake, runs, told=told)
        await until(lambda: asked(fake) == 300)
        fake.away = True
        fake.cut()
        for run_id in runs[:200]:
            fake.finish(run_id, End())
        await until(lambda: sum("cannot be asked" in line for line in told) == 300)
        # It comes back with another database, so to speak: numbers begin anew.
        fake.events.clear()
        fake.away = False
        assert all_over(await asyncio.gather(*ending[:200]))
        await until(lambda: sum("answers again" in line for line in told) == 300)
        assert len(fake.streams) == 1
        for run_id in runs[200:]:
            fake.finish(run_id, End(state="FAILED"))
        assert all_over(await asyncio.gather(*ending[200:]))

    run(go())


def test_a_broken_stream_goes_on_where_it_broke_and_everybody_is_asked_for_again(fake: FakeBridge) -> None:
    async def go() -> None:
        first, second = fake.submit(), fake.submit()
        ending = waiters(fake, [first, second])
        await until(lambda: asked(fake) == 2)
        fake.change(first, state="PENDING")
        await until(lambda: asked(fake) == 3)
        # In the middle of an event, whose end nobody will ever hear.
        fake.say('id: 2\nevent: run.changed\ndata: {"number": 2, "ty')
        fake.mute = True
        fake.finish(first, End())
        fake.mute = False
        fake.cut()
        assert all_over(await asyncio.gather(ending[0]))
        assert [stream.last_id for stream in fake.opened] == [None, 1]
        assert {len(seen.query["ids"].split(",")) for seen in questions(fake)[2:]} >= {2}
        fake.finish(second, End())
        assert all_over(await asyncio.gather(ending[1]))

    run(go())


@pytest.mark.parametrize(
    "garbage", ["data: <html>\n\n", "\x00\xff\n\n:::\n\n", "id: x\ndata: {}\n\n", "data: [1]\n\n"]
)
def test_garbage_in_the_stream_ends_nobodys_wait(fake: FakeBridge, garbage: str) -> None:
    async def go() -> None:
        runs = [fake.submit(), fake.submit()]
        told: Told = []
        ending = waiters(fake, runs, told=told)
        await until(lambda: asked(fake) == 2)
        fake.say(garbage)
        fake.finish(runs[0], End())
        assert (await ending[0]).ending == "over"
        fake.finish(runs[1], End())
        assert (await ending[1]).ending == "over"
        assert len(fake.opened) == 1
        assert not any("cannot be asked" in line for line in told)

    run(go())


def test_an_event_that_came_as_garbage_is_made_up_for(fake: FakeBridge) -> None:
    async def go() -> None:
        run_id = fake.submit()
        (ending,) = waiters(fake, [run_id])
        await until(lambda: asked(fake) == 1)
        fake.mute = True
        fake.finish(run_id, End())
        fake.say("id: 1\ndata: {garbled}\n\n")
        assert (await ending).ending == "over"

    run(go())


@pytest.mark.parametrize(
    "answer",
    [
        problem(503, "database-unavailable", "away", retryable=True),
        problem(500, "bug", "a fault"),
        problem(404, "no-such-page", "a proxy's"),
        (200, "a login page"),
        (200, {"items": [{"run_id": "half"}]}),
    ],
)
def test_what_one_question_meets_fails_nobody(fake: FakeBridge, answer: tuple[int, Any]) -> None:
    async def go() -> None:
        fake.problems = [answer] * 3
        runs = [fake.submit() for _ in range(3)]
        told: Told = []
        ending = waiters(fake, runs, told=told)
        await until(lambda: sum("answers again" in line for line in told) == 3)
        for run_id in runs:
            fake.finish(run_id, End())
        assert all_over(await asyncio.gather(*ending))

    run(go())


def test_a_hub_that_stumbles_begins_anew(fake: FakeBridge) -> None:
    async def go() -> None:
        run_id = fake.submit()

        def stumble(seen: Seen) -> None:
            fake.on_request = None
            raise RuntimeError("a fault of ours")

        fake.on_request = stumble
        (ending,) = waiters(fake, [run_id])
        await until(lambda: fake.on_request is None)
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


@pytest.mark.parametrize(
    "no_stream",
    [
        (404, "text/plain", "nothing here"),
        (200, "text/html", "<html>"),
        (501, "text/html", "<html>"),
        (503, "text/html", "busy"),
    ],
)
def test_without_a_stream_it_asks_now_and_then(fake: FakeBridge, no_stream: tuple[int, str, str]) -> None:
    async def go() -> None:
        fake.no_stream = no_stream
        runs = [fake.submit() for _ in range(250)]
        told: Told = []
        ending = waiters(fake, runs, told=told)
        await until(lambda: asked(fake) >= 250)
        for run_id in runs:
            fake.finish(run_id, End())
        assert all_over(await asyncio.gather(*ending))
        assert fake.opened == []
        assert not any("cannot be asked" in line for line in told)

    run(go())


def test_a_stream_that_is_held_back_counts_as_none(fake: FakeBridge) -> None:
    async def go() -> None:
        fake.mute = True
        run_id = fake.submit()
        tempo = Tempo(gather=0.01, first_stream=0.01, silence=0.1, poll=0.05, backoff=0.05, no_stream=0.1)
        (ending,) = waiters(fake, [run_id], tempo=tempo)
        await until(lambda: len(fake.opened) >= 2)
        assert len(fake.streams) <= 1
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


def test_a_stream_that_comes_later_is_found(fake: FakeBridge) -> None:
    async def go() -> None:
        fake.no_stream = (404, "text/plain", "an older bridge")
        run_id = fake.submit()
        (ending,) = waiters(fake, [run_id])
        await until(lambda: asked(fake) >= 1)
        fake.no_stream = None
        await until(lambda: len(fake.streams) == 1)
        fake.finish(run_id, End())
        assert (await ending).ending == "over"

    run(go())


def test_a_waiter_that_is_cancelled_leaves_nothing(fake: FakeBridge) -> None:
    async def go() -> None:
        run_id = fake.submit()
        ending = waiters(fake, [run_id, run_id, fake.submit()])
        await until(lambda: asked(fake) == 2)
        for number, waiter in enumerate(ending):
            assert len(fake.streams) == 1, number
            waiter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiter
        assert fake.streams == []
        # Also one that is cancelled before the hub has found the bridge.
        fake.away = True
        (early,) = waiters(fake, [run_id])
        await asyncio.sleep(0)
        early.cancel()
        with pytest.raises(asyncio.CancelledError):
            await early

    run(go())


def test_two_event_loops_do_not_share(fake: FakeBridge) -> None:
    runs = [fake.submit(), fake.submit()]
    both = threading.Barrier(2, timeout=30)
    endings: list[str] = []

    async def go(run_id: str) -> None:
        (ending,) = waiters(fake, [run_id])
        await until(lambda: len(fake.opened) == 2 and asked(fake) == 2)
        await asyncio.to_thread(both.wait)
        fake.finish(run_id, End())
        endings.append((await ending).ending)

    threads = [threading.Thread(target=asyncio.run, args=(go(run_id),)) for run_id in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert endings == ["over", "over"]
    assert len(fake.opened) == 2


def test_two_connections_do_not_share(fake: FakeBridge) -> None:
    async def go() -> None:
        run_id = fake.submit()
        both = [asyncio.create_task(wait_at_hub(Wire(fake, token), run_id)) for token in ("a", "b")]
        await until(lambda: asked(fake) == 2)
        assert len(fake.opened) == 2
        fake.finish(run_id, End())
        assert all_over(await asyncio.gather(*both))

    run(go())


def test_each_waiter_has_its_own_deadline_and_patience(fake: FakeBridge) -> None:
    async def go() -> None:
        runs = [fake.submit() for _ in range(3)]
        late = asyncio.create_task(wait_at_hub(Wire(fake), runs[0], deadline=100.2, wall_clock=lambda: 100.0))
        hasty = asyncio.create_task(wait_at_hub(Wire(fake), runs[1], patience_seconds=0.2))
        patient = asyncio.create_task(wait_at_hub(Wire(fake), runs[2]))
        await until(lambda: asked(fake) == 3)
        assert (await late).ending == "timeout"
        fake.away = True
        fake.cut()
        waited = await hasty
        assert (waited.ending, "cannot be connected to" in waited.message) == ("away", True)
        assert not patient.done()
        fake.away = False
        fake.finish(runs[2], End())
        assert (await patient).ending == "over"

    run(go())


def test_runs_that_the_bridge_does_not_know_are_gone_and_take_nobody_along(fake: FakeBridge) -> None:
    async def go() -> None:
        known = fake.submit()
        ending = waiters(fake, [str(uuid4()), known, "no id at all"])
        assert (await ending[0]).ending == (await ending[2]).ending == "gone"
        fake.finish(known, End())
        assert (await ending[1]).ending == "over"

    run(go())


def test_a_token_that_was_changed_is_read_anew(fake: FakeBridge) -> None:
    async def go() -> None:
        fake.token = "old"
        run_id = fake.submit()

        async def reread() -> Wire:
            return Wire(fake, fake.token)

        ending = asyncio.create_task(wait_at_hub(Wire(fake, "old"), run_id, reread=reread))
        await until(lambda: asked(fake) == 1)
        fake.token = "new"
        fake.cut()
        await until(lambda: len(fake.streams) == 1)
        fake.finish(run_id, End())
        assert (await ending).ending == "over"
        assert {seen.token for seen in questions(fake)} == {"old", "new"}

    run(go())


def test_those_who_wait_for_the_bridge_itself_share_its_answer(fake: FakeBridge) -> None:
    async def wait() -> Waited:
        async with HubSource(Wire(fake), tempo=QUICK) as source:
            return await wait_for_bridge(source, patience_seconds=60, tell=lambda _: None)

    async def go() -> None:
        fake.outages = 1
        ended = await asyncio.gather(*(wait() for _ in range(100)))
        assert {waited.ending for waited in ended} == {"over"}
        assert len(fake.requests) <= 3
        assert fake.opened == []

    run(go())


def test_the_settings_say_who_may_share() -> None:
    one = BridgeSettings(url="http://b:8700", token="t", project="a")
    assert one.connection == BridgeSettings(url="http://b:8700", token="t", project="b").connection
    assert one.connection != BridgeSettings(url="http://b:8700", token="u").connection
    assert one.connection != BridgeSettings(url="http://b:8700", token="t", verify=False).connection
