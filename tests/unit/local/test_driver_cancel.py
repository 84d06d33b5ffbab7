"""Cancelling a run ends every process it started, quickly, whatever these do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bridge.domain.states import RuntimeState
from tests.support.handmade import component, parameters, pipeline, sh, task
from tests.unit.local.conftest import Driver

STUBBORN = """
trap '' TERM
sleep 600 &
echo $! > "$0.child"
echo $$ > "$0.tmp" && mv "$0.tmp" "$0"
while true; do sleep 600; done
"""


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


async def wait_for(*paths: Path) -> None:
    async with asyncio.timeout(20):
        while not all(path.exists() for path in paths):
            await asyncio.sleep(0.01)


async def test_cancel_ends_all_processes_within_two_seconds(driver: Driver, tmp_path: Path) -> None:
    marks = [tmp_path / "one", tmp_path / "two"]
    executors = {mark.name: sh(STUBBORN, str(mark)) for mark in marks}
    components = {name: component(executorLabel=name) for name in executors}
    tasks = [task("one", "one"), task("two", "two"), task("after", "one", "two")]
    loop = {"parameterIterator": {"itemInput": "item", "items": {"raw": "[1]"}}}
    components["loop"] = component(inputs=parameters(item="int"), dag={"tasks": {"two": task("two", "two")}})
    tasks[1] = task("loop", "loop", **loop)
    tasks[2] = task("after", "one", "loop")
    executor = driver.executor(pipeline(tasks, components, executors))
    running = asyncio.create_task(executor.execute())
    await wait_for(*marks)
    pids = [int(mark.with_suffix(suffix).read_text()) for mark in marks for suffix in ("", ".child")]
    assert all(is_alive(pid) for pid in pids)

    began = time.monotonic()
    executor.cancel()
    executor.cancel()
    outcome = await running
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() - began < 2.0
        await asyncio.sleep(0.001)
    assert time.monotonic() - began < 2.0
    assert outcome.state is RuntimeState.CANCELED
    assert driver.recorder.states() == {
        "one": "CANCELED",
        "loop[0].two": "CANCELED",
        "loop[0]": "CANCELED",
        "loop": "CANCELED",
    }
    assert driver.recorder.ends[""].state is RuntimeState.CANCELED


async def test_cancel_before_the_run_begins(driver: Driver) -> None:
    made = pipeline([task("ok", "ok")], {"ok": component(executorLabel="ok")}, {"ok": sh("true")})
    executor = driver.executor(made)
    executor.cancel()
    assert (await executor.execute()).state is RuntimeState.CANCELED
    assert driver.recorder.created == {}


async def test_cancel_while_the_run_waits_for_a_slot(driver: Driver) -> None:
    driver.slots = asyncio.Semaphore(0)
    made = pipeline([task("ok", "ok")], {"ok": component(executorLabel="ok")}, {"ok": sh("true")})
    executor = driver.executor(made)
    running = asyncio.create_task(executor.execute())
    async with asyncio.timeout(20):
        while "ok" not in driver.recorder.created:
            await asyncio.sleep(0)
    executor.cancel()
    assert (await running).state is RuntimeState.CANCELED
    assert driver.recorder.states() == {"ok": "CANCELED"}


async def test_a_server_that_stops_ends_the_processes_and_records_nothing(
    driver: Driver, tmp_path: Path
) -> None:
    mark = tmp_path / "one"
    made = pipeline(
        [task("one", "one")], {"one": component(executorLabel="one")}, {"one": sh(STUBBORN, str(mark))}
    )
    running = asyncio.create_task(driver.executor(made).execute())
    await wait_for(mark)
    pid = int(mark.read_text())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(2):
        while is_alive(pid):
            await asyncio.sleep(0.001)
    assert driver.recorder.ends == {}


async def test_a_task_that_ends_leaves_no_process_behind(driver: Driver, tmp_path: Path) -> None:
    executors = {"leave": sh('sleep 600 & echo $! > "$0"', str(tmp_path / "left"))}
    made = pipeline([task("leave", "leave")], {"leave": component(executorLabel="leave")}, executors)
    outcome = await driver.execute(made)
    assert outcome.state is RuntimeState.SUCCEEDED
    pid = int((tmp_path / "left").read_text())
    async with asyncio.timeout(20):
        while is_alive(pid):
            await asyncio.sleep(0.01)
