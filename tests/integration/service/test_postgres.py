"""The service over a real PostgreSQL: several replicas, and a database that goes away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import Session

from bridge.domain.decide import Observation
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import runs
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from bridge.lineage.records import RunChanges
from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import trains
from tests.support.bridge_service import start_service
from tests.support.fake_kfp import FakeKfp
from tests.support.local_backend import LocalBackend
from tests.support.postgres import PostgresServer
from tests.unit.service.harness import harness, mirror_of
from tests.unit.service.test_repeating import origin

pytestmark = pytest.mark.postgres


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    """A migrated PostgreSQL database of this test's own."""
    database = Database(postgres_url)
    database.migrate()
    yield database
    database.close()


async def test_a_submission_goes_its_whole_way(postgres: Database) -> None:
    async with harness(postgres) as service:
        inputs = [{"name": "flights", "uri": "file:///data/day=1", "version": "v1"}]
        run = await service.submitted(None, origin=origin(1), inputs=inputs, gate="evaluate.auc > 0.5")
        done = await service.ended(run, mirror=mirror_of(metrics={"evaluate.auc": 0.8}))
        assert (done["over"], done["good"], done["gate"]["passed"]) == (True, True, True)
        failed = await service.submitted("2")
        service.kfp.logs["pod-train"] = "ValueError: nul \x00 in a log"
        failed = await service.ended(failed, "FAILED")
        assert failed["error"]["log_tail"] == ["ValueError: nul \ufffd in a log"]
        retried = await service.submit(None, origin=origin(2))
        assert retried.json()["run_id"] == run["run_id"]
        explained = (await service.client.get(f"/api/v1/runs/{run['run_id']}/explain")).json()
        assert explained["inputs"][0]["uri"] == "file:///data/day=1"
        assert await service.sequencer.step() > 0


async def test_a_new_generation_cancels_adopts_or_detaches(postgres: Database) -> None:
    async with harness(postgres) as service:
        old = await service.submitted(None, origin=origin(1))
        adopted = await service.submit(None, origin=origin(1, max_tries=3), on_clear="adopt")
        assert adopted.json()["run_id"] == old["run_id"]
        detached = await service.submitted(None, origin=origin(1, max_tries=4), on_clear="detach")
        assert detached["run_id"] != old["run_id"]
        waiting = await service.submitted(None, origin=origin(1, max_tries=5))
        assert waiting["phase"] == "QUEUED"


async def test_an_end_that_another_replica_is_recording_is_not_undone(postgres: Database) -> None:
    recorded, watched = threading.Event(), threading.Event()
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    async with harness(postgres) as service:
        sent = await service.submitted()
        run_id, kfp_run_id = UUID(sent["run_id"]), UUID(sent["kfp_run_id"])
        asked_at = await service.context.store.read(database_now)

        def end(session: Session) -> None:
            moment = database_now(session)
            over: RunChanges = {"phase": RunPhase.ENDED, "state": RuntimeState.SUCCEEDED}
            runs.change_run(session, run_id, **over, finished_at=moment, observed_at=moment)
            recorded.set()
            assert watched.wait(20)

        def sweep_waits(session: Session) -> bool:
            return bool(session.execute(waiting).scalar_one())

        ending = asyncio.create_task(asyncio.to_thread(postgres.transact, end))
        assert await asyncio.to_thread(recorded.wait, 20)
        seen = Observation(kfp_run_id=kfp_run_id, state=RuntimeState.RUNNING, asked_at=asked_at)
        sweeping = asyncio.create_task(service.track_worker.record({kfp_run_id: seen}))
        while not await service.context.store.read(sweep_waits):
            assert not sweeping.done()
            await asyncio.sleep(0.01)
        watched.set()
        await asyncio.gather(ending, sweeping)
        found = await service.run(sent["run_id"])
        assert (found["phase"], found["state"]) == ("ENDED", "SUCCEEDED")


async def test_two_replicas_send_every_submission_once(postgres: Database) -> None:
    kfp = FakeKfp()
    async with harness(postgres, kfp=kfp) as one, harness(postgres, kfp=kfp) as two:
        answers = await asyncio.gather(
            *(service.submit(f"k{index % 20}") for index in range(40) for service in (one, two))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["run_id"] for answer in answers}) == 20
        while len(kfp.workflows) < 20:
            await asyncio.gather(one.send(), two.send())
        assert len(set(kfp.workflows)) == len(kfp.workflows) == 20
        for kfp_run_id in kfp.workflows:
            kfp.finish(kfp_run_id)
            kfp.mirrors[UUID(kfp_run_id)] = mirror_of()
        await one.sweep()
        await asyncio.gather(one.mirror(), two.mirror())
        listed = (await two.client.get("/api/v1/runs", params={"state": "SUCCEEDED"})).json()["items"]
        assert [run["over"] for run in listed] == [True] * 20


async def test_only_one_replica_follows_a_backend(postgres: Database) -> None:
    kfp = FakeKfp()
    async with harness(postgres, kfp=kfp) as one, harness(postgres, kfp=kfp) as two:
        await one.track_worker.step()
        before = len(kfp.requests)
        await two.track_worker.step()
        assert len(kfp.requests) == before


def test_a_database_that_goes_away_is_503_and_comes_back(
    tmp_path: Path, local_backend: LocalBackend, postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.split("?", maxsplit=1)[0].rsplit("/", 1)[1]
    patience = {"KFBRIDGE_DATABASE_PATIENCE_SECONDS": "1"}
    with (
        start_service(tmp_path, local_backend.url, database_url=postgres_url, env=patience) as service,
        httpx.Client(base_url=service.url, timeout=30) as client,
    ):
        run = submit(client, trains(), arguments={"epochs": 1}, key="first")
        wait_until(client, run, over=True)
        postgres_server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        postgres_server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        away = client.post(
            "/api/v1/runs", json={"spec": trains(), "arguments": {}}, headers={"Idempotency-Key": "k"}
        )
        assert away.status_code == 503, away.text
        assert away.json()["type"] == "urn:kfbridge:problem:database-unavailable"
        assert away.headers["retry-after"]
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200
        postgres_server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
        deadline = time.monotonic() + 30
        while client.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            continue
        second = submit(client, trains(), arguments={"epochs": 2}, key="second")
        assert wait_until(client, second, over=True)["state"] == "SUCCEEDED"
