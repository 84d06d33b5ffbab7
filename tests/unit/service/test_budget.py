"""The bridge takes at most one part in twenty of a backend's time, whatever a list costs there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import pytest
from sqlalchemy import delete, select

from bridge.domain.states import RunPhase
from bridge.kfp_api import http
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.grpcweb import encode_response
from bridge.kfp_api.mlmd import MlmdReader
from bridge.kfp_api.retry import RetryPolicy
from bridge.lineage.database import Database
from bridge.lineage.tables import DUTIES, RUNS
from bridge.service.workers import track
from bridge.service.workers.budget import Budget
from tests.support.crowded_kfp.lists import list_runs, row_json
from tests.support.crowded_kfp.rows import Rows
from tests.support.fake_kfp import API, FakeKfp
from tests.support.following import follow_runs
from tests.unit.service.harness import Harness, harness

Following = Callable[..., AbstractAsyncContextManager["Followed"]]


@dataclass
class Time:
    """A clock that only the backend and pauses move on."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class DearKfp:
    """A backend whose lists take their time, by the clock of the test."""

    clock: Time
    rows: Rows = field(default_factory=Rows)
    list_seconds: float = 0.0
    get_seconds: float = 0.0
    metadata_seconds: float = 0.0
    lists: list[dict[str, str]] = field(default_factory=list)
    busy: float = 0.0

    def take(self, seconds: float) -> None:
        self.clock.now += seconds
        self.busy += seconds

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == f"{API}/runs":
            query = dict(parse_qsl(request.url.query.decode()))
            self.lists.append(query)
            self.take(self.list_seconds)
            told = list_runs(self.rows, query, lambda row: row_json(self.rows, row, spec=None, tasks=False))
            return httpx.Response(200, json=told)
        if request.url.path.startswith("/ml_metadata."):
            self.take(self.metadata_seconds)
            return httpx.Response(200, content=encode_response(b""))
        self.take(self.get_seconds)
        row = self.rows.by_id.get(request.url.path.rpartition("/")[2])
        if row is None:
            return httpx.Response(404, json={"code": 5, "message": "no such run"})
        return httpx.Response(200, json=row_json(self.rows, row, spec=None, tasks=True))

    def client(self) -> KfpClient:
        return KfpClient(
            "http://kfp.example", transport=httpx.MockTransport(self.handle), retry=RetryPolicy(attempts=1)
        )

    def fast_lists(self) -> int:
        return sum("GREATER_THAN_EQUALS" in query["filter"] for query in self.lists)

    def slow_lists(self) -> int:
        return len(self.lists) - self.fast_lists()


@dataclass
class Followed:
    """A worker that follows a dear backend, on the backend's clock."""

    kfp: DearKfp
    service: Harness

    async def round(self) -> track.Pause:
        """One round, and the pause after it."""
        pause = await self.service.track_worker.step()
        self.kfp.clock.now += pause.least_seconds
        return pause

    async def rounds_for(self, seconds: float) -> float:
        """Rounds for so long; the share of that time that the backend was busy with them."""
        began, busy = self.kfp.clock.now, self.kfp.busy
        while self.kfp.clock.now < began + seconds:
            await self.round()
        return (self.kfp.busy - busy) / (self.kfp.clock.now - began)

    def phases(self) -> Counter[RunPhase]:
        """How many runs are in which phase."""
        return Counter(
            RunPhase(phase)
            for phase in self.service.context.store.database.read(
                lambda s: list(s.execute(select(RUNS.c.phase)).scalars())
            )
        )


@pytest.fixture
def following(database: Database, monkeypatch: pytest.MonkeyPatch) -> Following:
    """Opens a service that follows so many active runs of a backend with a clock of its own."""
    clock = Time()
    # Only the modules that count the backend's time.
    frozen = SimpleNamespace(monotonic=clock)
    for module in (track, http):
        monkeypatch.setattr(module, "time", frozen)

    @asynccontextmanager
    async def open_it(active: int, **settings: object) -> AsyncIterator[Followed]:
        kfp = DearKfp(clock)
        kfp.rows.fill(50, active)
        for row in kfp.rows.all:
            row.state = row.state or "RUNNING"
        follow_runs(database, [UUID(row.run_id) for row in kfp.rows.open_rows()])
        fake = FakeKfp()
        quick = {"tick_seconds": 1.0, "slow_sweep_seconds": 3.0, **settings}
        async with harness(database, kfp=fake, backend=quick) as service:
            backend = service.backend
            await backend.client.aclose()
            backend.client = kfp.client()
            backend.budget = Budget(clock)
            service.restart_workers()
            yield Followed(kfp, service)
            await backend.client.aclose()

    return open_it


async def test_a_fast_sweep_is_one_request_with_ten_active_runs_and_with_ten_thousand(
    database: Database, following: Following
) -> None:
    counts = []
    for active in (10, 10_000):
        database.transact(lambda s: [s.execute(delete(table)) for table in (DUTIES, RUNS)])
        async with following(active, slow_sweep_seconds=3600.0) as followed:
            followed.service.track_worker._slow_due = inf
            before = len(followed.kfp.lists)
            for _ in range(5):
                await followed.round()
            counts.append(len(followed.kfp.lists) - before)
    assert counts == [5, 5]


@pytest.mark.parametrize("list_seconds", [0.004, 0.1, 1.0, 15.0])
async def test_the_backend_is_busy_with_sweeps_for_a_twentieth_of_its_time(
    following: Following, list_seconds: float
) -> None:
    async with following(600) as followed:
        followed.kfp.list_seconds, followed.kfp.get_seconds = list_seconds, list_seconds / 10
        share = await followed.rounds_for(max(20.0, 700 * list_seconds))
        # What may be saved up at the beginning is not of this time.
        assert share <= 0.05 + 0.25 / 20
        share = await followed.rounds_for(max(20.0, 700 * list_seconds))
        assert share <= 0.05
        # And it is used: what can wait does not wait for ever.
        assert followed.kfp.slow_lists() >= 6


async def test_the_pause_is_twenty_times_what_the_round_took_at_least(following: Following) -> None:
    async with following(1_000) as followed:
        followed.kfp.list_seconds = 15.0
        for _ in range(4):
            busy = followed.kfp.busy
            pause = await followed.round()
            assert pause.least_seconds >= 20 * (followed.kfp.busy - busy) > 0
            state = (await followed.service.client.get("/status")).json()["backends"][0]
            assert state["tick_seconds"] >= 20 * state["last_sweep_seconds"]


async def test_a_dear_slow_sweep_keeps_no_end_waiting(following: Following) -> None:
    async with following(3_000) as followed:
        followed.kfp.list_seconds = 1.0
        await followed.rounds_for(300)
        (row,) = followed.kfp.rows.open_rows()[:1]
        followed.kfp.rows.finish([row], "SUCCEEDED", (0, 0))
        began = followed.kfp.clock.now
        while followed.phases()[RunPhase.ENDED] == 0:
            await followed.round()
            # 31 times the list, or 20 times the list and a page of the slow sweep.
            assert followed.kfp.clock.now - began <= 2 * 45


async def test_ends_told_late_and_below_many_newer_ones_are_seen_by_and_by(following: Following) -> None:
    async with following(1_000) as followed:
        followed.kfp.list_seconds = 0.004
        rows = followed.kfp.rows
        going = rows.open_rows()
        now = int(time.time())
        for row in going[:500]:
            row.end = ("SUCCEEDED", now)
            rows._tell_end(row)
        await followed.rounds_for(2)
        assert followed.phases()[RunPhase.ENDED] == 500
        for row in going[500:520]:
            row.end = ("FAILED", now - 300)
            rows._tell_end(row)
        began = followed.kfp.clock.now
        while followed.phases()[RunPhase.ENDED] < 520:
            assert followed.kfp.clock.now - began < 20
            await followed.round()


async def test_runs_that_are_gone_are_looked_up_one_by_one_within_the_budget(following: Following) -> None:
    async with following(600) as followed:
        kfp = followed.kfp
        kfp.list_seconds, kfp.get_seconds = 0.02, 0.01
        await followed.rounds_for(5)
        for row in kfp.rows.open_rows()[:100]:
            kfp.rows.delete(row)
        share = await followed.rounds_for(60)
        assert followed.phases()[RunPhase.LOST] == 100
        assert share <= 0.05


async def test_the_metadata_watch_keeps_to_its_share(following: Following) -> None:
    async with following(10) as followed:
        followed.kfp.metadata_seconds = 2.0
        followed.service.backend.reader = MlmdReader(followed.service.backend.client)
        assert await followed.service.watch.step() >= 2.0 * 99


def test_what_is_left_over_can_be_spent_and_no_more() -> None:
    clock = Time()
    budget = Budget(clock)
    budget.spend(0.25)
    assert not budget.allows(0.01)
    clock.now += 1.0
    assert budget.allows(0.045)
    assert not budget.allows(0.06)
    # What is dearer than all that is ever saved up comes to its turn all the same.
    assert not budget.allows(15.0)
    clock.now += 400.0
    assert budget.allows(15.0)
