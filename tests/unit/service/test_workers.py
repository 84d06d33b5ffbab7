"""The machinery around the workers: supervision, bells, backoff, pools."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from bridge.lineage.database import Database
from bridge.lineage.errors import DatabaseUnavailable, HeldByAnother
from bridge.service import crash
from bridge.service.logs import FieldFormatter
from bridge.service.wakeups import Bell, RunChanges
from bridge.service.workers import supervisor as supervision
from bridge.service.workers.backoff import backoff_seconds
from bridge.service.workers.hold import drop_database, take_database
from bridge.service.workers.pool import Pool
from bridge.service.workers.start import make_supervisor
from bridge.service.workers.supervisor import Supervisor
from tests.unit.service.harness import Harness

RUN = UUID(int=1)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_worker_that_crashes_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_FIRST_BACKOFF_SECONDS", 0.001)
    starts = 0

    async def crash_twice() -> None:
        nonlocal starts
        starts += 1
        if starts <= 2:
            raise RuntimeError("a bug")
        await asyncio.Event().wait()

    watched = Supervisor({"w": crash_twice})
    watched.start()
    await until(lambda: starts == 3)
    health = watched.health["w"]
    assert (health.running, health.crashes, health.last_error) == (True, 2, "RuntimeError: a bug")
    await watched.stop(1.0)
    assert health.running is False


async def test_a_worker_that_does_not_stop_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    watched = Supervisor({"stubborn": stubborn})
    watched.start()
    await asyncio.sleep(0)
    await watched.stop(0.01)
    assert "did not stop in time" in caplog.text
    release.set()
    await asyncio.sleep(0)


async def test_every_kind_of_work_has_a_worker(service: Harness) -> None:
    context = service.context
    assert set(make_supervisor(context).health) == set()
    context.settings = context.settings.model_copy(update={"workers": True})
    context.holds_database = True
    assert set(make_supervisor(context, {"changes": asyncio.Event().wait}).health) == {  # type: ignore[dict-item]
        "sequencer",
        "deliver",
        "usage",
        "hold",
        "changes",
        "submit:default",
        "track:default",
        "mirror:default",
        "watch:default",
        "cancel:default",
        "content:default",
        "history:default",
    }


async def test_a_bell_wakes_now_or_at_the_next_wait() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    assert await bell.wait(10) is True
    assert await bell.wait(0.001) is False


async def test_waiters_are_told_of_newer_versions_only() -> None:
    changes = RunChanges()
    changes.announce(RUN, 5)
    assert changes.watched == ()
    waiting = asyncio.create_task(changes.wait(RUN, 5, 10))
    await asyncio.sleep(0)
    assert changes.watched == (RUN,)
    changes.announce(RUN, 5)
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.announce(RUN, 6)
    assert await waiting is True
    assert await changes.wait(RUN, 6, 0.001) is False
    changes.stop()
    assert await changes.wait(RUN, 6, 10) is False


def test_backoff_grows_and_is_bounded() -> None:
    assert 0.75 <= backoff_seconds(1) <= 1.25
    assert 6 <= backoff_seconds(4) <= 10
    assert backoff_seconds(1000) <= 75


async def test_a_job_that_fails_is_logged_and_makes_room(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("broken")

    bell = Bell()
    pool = Pool(1, bell)
    pool.start(fail(), run_id="r")
    assert pool.free == 0
    await pool.drain()
    assert pool.free == 1
    assert await bell.wait(10) is True
    assert "job failed" in caplog.text


def test_a_crash_point_that_was_not_asked_for_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(crash.os, "_exit", left.append)
    monkeypatch.setenv("KFBRIDGE_CRASH_AT", "here")
    crash.crash_point("there")
    assert left == []
    crash.crash_point("here")
    assert left == [crash.CRASH_EXIT_CODE]


def test_a_sqlite_database_serves_one_process(database: Database) -> None:
    take_database(database, "one")
    take_database(database, "one")
    with pytest.raises(HeldByAnother, match="one"):
        take_database(database, "two", patience_seconds=0)
    drop_database(database, "one")
    take_database(database, "two", patience_seconds=0)


@pytest.mark.parametrize(
    ("as_json", "expected"),
    [
        (False, 'INFO test run changed run_id=1 note="two words"'),
        (True, '"event": "run changed", "run_id": 1'),
    ],
)
def test_log_lines_carry_their_facts(as_json: bool, expected: str) -> None:
    record = logging.makeLogRecord({"name": "test", "levelname": "INFO", "msg": "run changed", "run_id": 1})
    record.note = "two words"
    assert expected in FieldFormatter(as_json=as_json).format(record)


def test_a_log_line_is_one_line_whatever_others_named_things() -> None:
    hostile = "x\n2026-01-01T00:00:00 INFO bridge run succeeded\u2028\x1b[2J"
    record = logging.makeLogRecord({"name": "test", "levelname": "INFO", "msg": "about " + hostile})
    record.pipeline = hostile
    record.task = "a\rb"
    for as_json in (True, False):
        line = FieldFormatter(as_json=as_json).format(record)
        assert "\n" not in line
        assert "\r" not in line
    assert r"about x\n2026-01-01" in line
    assert not any(sign in line for sign in "\u2028\x1b")


async def test_a_database_that_is_away_is_told_once_and_is_no_crash(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervision, "_FIRST_BACKOFF_SECONDS", 0.001)
    starts: Counter[str] = Counter()

    def worker(name: str) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            starts[name] += 1
            if starts[name] <= 3:
                raise DatabaseUnavailable("connection refused", 5)
            await asyncio.Event().wait()

        return work

    watched = Supervisor({"a": worker("a"), "b": worker("b")})
    watched.start()
    await until(lambda: starts["a"] == starts["b"] == 4)
    await watched.stop(1.0)
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [(record.levelname, record.message) for record in told] == [
        ("WARNING", "workers wait for the database")
    ]
    assert not told[0].exc_info
    assert (watched.health["a"].crashes, watched.health["b"].crashes) == (0, 0)
    assert "connection refused" in (watched.health["a"].last_error or "")


async def test_a_job_that_lost_the_database_is_told_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise DatabaseUnavailable("connection refused", 5)

    pool = Pool(1, Bell())
    pool.start(fail(), run_id="r")
    await pool.drain()
    (told,) = caplog.records
    assert (told.levelname, told.exc_info) == ("WARNING", None)
