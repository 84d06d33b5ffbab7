"""Runs whose waiter is heard of no more are cancelled, if the settings say so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from bridge.lineage import leases, waiters
from bridge.lineage.database import Database
from bridge.lineage.records import Duty
from bridge.service.waiters import Waiters
from bridge.service.workers.orphans import OrphanWorker
from bridge.service.workers.start import make_supervisor
from tests.unit.service.harness import ARGUMENTS, SPEC, Harness, harness
from tests.unit.service.test_repeating import origin

AFTER = 300.0
WAITS = {"KFBridge-Waits": "true"}


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def strict(database: Database) -> AsyncIterator[Harness]:
    """A service that cancels orphans."""
    async with harness(database, orphan_after_seconds=AFTER) as made:
        yield made


async def submitted(service: Harness, *, waits: bool = True, **changes: object) -> str:
    body = {"spec": SPEC, "arguments": ARGUMENTS, "origin": origin(), **changes}
    answer = await service.client.post("/api/v1/runs", json=body, headers=WAITS if waits else {})
    assert answer.status_code == 202, answer.text
    await service.send()
    run_id: str = answer.json()["run_id"]
    return run_id


async def time_passes(service: Harness) -> None:
    """Every run that somebody is expected to wait for has been silent for long enough."""
    for run in await service.stored():
        await service.context.store.transact(lambda s, run_id=run.run_id: waiters.heard(s, [run_id], -1.0))


async def look(service: Harness) -> None:
    worker = OrphanWorker(service.context, service.backend, AFTER)
    while await worker.step():
        await worker.drain()


async def test_a_run_whose_waiter_falls_silent_is_cancelled(strict: Harness) -> None:
    run_id = await submitted(strict)
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is None
    await time_passes(strict)
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is not None
    await strict.cancel()
    await strict.follow()
    assert (await strict.run(run_id))["state"] in ("CANCELING", "CANCELED")


@pytest.mark.parametrize("question", ["/runs?ids={}", "/runs/{}?wait=0.01s"])
async def test_who_waits_is_heard(strict: Harness, question: str) -> None:
    clock = Clock()
    strict.context.waiters = Waiters(strict.context.store, AFTER, clock)
    run_id = await submitted(strict)
    await time_passes(strict)
    clock.now += AFTER / 2
    assert (await strict.client.get("/api/v1" + question.format(run_id))).status_code == 200
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is None


async def test_who_only_looks_does_not_wait(strict: Harness) -> None:
    clock = Clock()
    strict.context.waiters = Waiters(strict.context.store, AFTER, clock)
    run_id = await submitted(strict)
    await time_passes(strict)
    clock.now += AFTER / 2
    for path in (f"/runs/{run_id}", "/runs", f"/runs/{run_id}/tasks"):
        assert (await strict.client.get("/api/v1" + path)).status_code == 200
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is not None


async def test_a_waiter_is_not_written_down_at_each_question(strict: Harness) -> None:
    clock = Clock()
    strict.context.waiters = Waiters(strict.context.store, AFTER, clock)
    run_id = await submitted(strict)
    await time_passes(strict)
    clock.now += AFTER / 100
    await strict.client.get(f"/api/v1/runs?ids={run_id}")
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is not None


async def test_a_run_that_nobody_promised_to_wait_for_goes_on(strict: Harness) -> None:
    run_id = await submitted(strict, waits=False)
    await strict.client.get(f"/api/v1/runs?ids={run_id}")
    await time_passes(strict)
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is None


async def test_a_run_that_is_over_has_no_orphanhood(strict: Harness) -> None:
    run_id = await submitted(strict)
    await strict.ended(await strict.run(run_id))
    await time_passes(strict)
    await look(strict)
    run = await strict.run(run_id)
    assert (run["state"], run["cancel_requested_at"]) == ("SUCCEEDED", None)
    assert await strict.context.store.read(lambda s: leases.backlog(s, Duty.WAITER)) == 0


async def test_a_run_that_a_clear_left_going_on_needs_no_waiter(strict: Harness) -> None:
    left = await submitted(strict)
    again = await submitted(strict, origin=origin(max_tries=3), on_clear="detach")
    assert again != left
    await time_passes(strict)
    await look(strict)
    assert (await strict.run(left))["cancel_requested_at"] is None
    assert (await strict.run(again))["cancel_requested_at"] is not None


async def test_a_later_try_waits_again(strict: Harness) -> None:
    run_id = await submitted(strict)
    await time_passes(strict)
    assert await submitted(strict, origin=origin(2)) == run_id
    await look(strict)
    assert (await strict.run(run_id))["cancel_requested_at"] is None


async def test_a_process_that_has_begun_gives_every_waiter_its_time(strict: Harness) -> None:
    run_id = await submitted(strict)
    await time_passes(strict)
    began = time.monotonic()
    work = asyncio.create_task(OrphanWorker(strict.context, strict.backend, 0.3).run())
    while (await strict.run(run_id))["cancel_requested_at"] is None:
        await asyncio.sleep(0.01)
    assert time.monotonic() - began >= 0.3
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


@pytest.mark.parametrize(("settings", "wanted"), [({}, False), ({"orphan_after_seconds": AFTER}, True)])
async def test_it_is_off_unless_the_settings_say_so(
    database: Database, settings: dict[str, float], wanted: bool
) -> None:
    async with harness(database, **settings) as service:
        run_id = await submitted(service)
        assert (await service.run(run_id))["cancel_requested_at"] is None
        due = await service.context.store.read(lambda s: leases.next_due(s, Duty.WAITER))
        assert (due is not None) is wanted
        working = service.context.settings.model_copy(update={"workers": True})
        service.context.settings = working
        assert ("orphans:default" in make_supervisor(service.context).health) is wanted
