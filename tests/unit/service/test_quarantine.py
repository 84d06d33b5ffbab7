"""Work that fails for a reason of its own is set aside, shown and tried again; the rest goes on."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from bridge.kfp_api.errors import KfpBadAnswer, KfpUnreachable
from bridge.lineage.database import Database
from bridge.service.workers.suspects import Suspects, cannot_be_read
from tests.support.fake_kfp import API, FakeKfp
from tests.unit.service.harness import Harness, harness

TRIES = 2


class OddKfp(FakeKfp):
    """A server whose answer about some runs makes no sense, and whose lists hold rows that do not."""

    broken: frozenset[str] = frozenset()
    rows: tuple[Any, ...] = ()

    def _answer(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        answer = super()._answer(method, path, request)
        run_id = path.removeprefix(f"{API}/runs/")
        if method == "GET" and run_id in self.broken:
            return httpx.Response(200, json={"run_id": run_id, "created_at": "yesterday"})
        if method == "GET" and path == f"{API}/runs":
            page = answer.json()
            return httpx.Response(200, json={**page, "runs": [*self.rows, *page["runs"]]})
        return answer


async def quarantined(service: Harness) -> list[dict[str, Any]]:
    answer = await service.client.get("/api/v1/quarantine")
    found: list[dict[str, Any]] = answer.json()["items"]
    (backend,) = (await service.client.get("/api/v1/status")).json()["backends"]
    assert backend["quarantined"] == len(found)
    return found


async def release(service: Harness, number: int) -> httpx.Response:
    return await service.client.post(f"/api/v1/quarantine/{number}:release")


async def test_a_mirror_that_cannot_be_read_is_set_aside_and_nobody_waits_for_it(database: Database) -> None:
    kfp = OddKfp()
    async with harness(database, kfp=kfp, quarantine_after_failures=TRIES) as service:
        odd = await service.submitted("odd", gate="train.auc > 0.5")
        kfp.broken = frozenset({odd["kfp_run_id"]})
        kfp.finish(odd["kfp_run_id"])
        await service.sweep()
        for number in range(TRIES + 1):
            await service.make_due()
            await service.mirror()
            # A failure counts only if others were read since the first one.
            healthy = await service.ended(await service.submitted(f"healthy-{number}"))
            assert healthy["over"] is True
        (aside,) = await quarantined(service)
        assert (aside["work"], aside["run_id"], aside["failures"]) == ("mirror", odd["run_id"], TRIES)
        assert "created_at" in aside["reason"]
        told = await service.run(odd["run_id"])
        assert (told["state"], told["over"], told["mirror"], told["good"]) == (
            "SUCCEEDED",
            True,
            "PARTIAL",
            False,
        )
        assert told["gate"]["passed"] is None
        assert f"kfbridge quarantine release {aside['number']}" in told["warnings"][0]
        # It is not tried, whoever asks for it.
        kfp.requests.clear()
        await service.make_due()
        await service.mirror()
        assert not any(odd["kfp_run_id"] in path for _, path in kfp.requests)
        kfp.broken = frozenset()
        kfp.mirrors[UUID(odd["kfp_run_id"])] = kfp.mirrors[UUID(healthy["kfp_run_id"])]
        assert (await release(service, aside["number"])).status_code == 200
        await service.mirror()
        assert (await service.run(odd["run_id"]))["mirror"] == "COMPLETE"
        assert await quarantined(service) == []
        assert (await release(service, aside["number"])).status_code == 404


async def test_trouble_that_everybody_has_sets_nothing_aside(database: Database) -> None:
    kfp = OddKfp()
    async with harness(database, kfp=kfp, quarantine_after_failures=1) as service:
        runs = [await service.submitted(f"k{number}") for number in range(3)]
        kfp.broken = frozenset(run["kfp_run_id"] for run in runs)
        for run in runs:
            kfp.finish(run["kfp_run_id"])
        await service.sweep()
        for _ in range(3):
            await service.make_due()
            await service.mirror()
        assert await quarantined(service) == []


async def test_rows_that_are_no_runs_are_set_aside(database: Database) -> None:
    kfp = OddKfp()
    beyond = {"run_id": str(uuid4()), "state": "RUNNING", "created_at": "0001-01-01T00:00:00+14:00"}
    kfp.rows = ({"run_id": "no uuid", "state": 7}, {"run_id": "nor this", "state": "RUNNING"}, beyond, 3)
    async with harness(database, kfp=kfp, quarantine_after_failures=TRIES) as service:
        run = await service.submitted()
        for _ in range(TRIES):
            await service.sweep()
        aside = {one["subject"]: one for one in await quarantined(service)}
        assert {one["work"] for one in aside.values()} == {"list"}
        assert {"no uuid", "nor this", beyond["run_id"]} < set(aside)
        assert len(aside) == 4
        assert (await service.ended(run))["over"] is True


async def test_a_run_that_cannot_be_taken_in_does_not_stop_the_sweep(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp = OddKfp()
    async with harness(database, kfp=kfp, quarantine_after_failures=TRIES) as service:
        odd, healthy = await service.submitted("odd"), await service.submitted("healthy")
        kfp.start(odd["kfp_run_id"])
        kfp.start(healthy["kfp_run_id"])
        whole = service.track_worker.record

        async def record(seen: Any) -> Any:
            if UUID(odd["kfp_run_id"]) in seen:
                raise OverflowError("a value that no database takes")
            return await whole(seen)

        monkeypatch.setattr(service.track_worker, "record", record)
        for _ in range(TRIES):
            await service.sweep()
        assert (await service.run(healthy["run_id"]))["state"] == "RUNNING"
        (aside,) = await quarantined(service)
        assert (aside["work"], aside["run_id"]) == ("sweep", odd["run_id"])
        assert "no database takes" in aside["reason"]
        monkeypatch.undo()
        await service.sweep()
        assert (await service.run(odd["run_id"]))["state"] == "PENDING"
        await release(service, aside["number"])
        await service.sweep()
        assert (await service.run(odd["run_id"]))["state"] == "RUNNING"


async def test_a_submission_that_a_worker_cannot_handle_is_set_aside(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with harness(database, quarantine_after_failures=TRIES) as service:
        odd = (await service.submit("odd")).json()
        post = service.submit_worker._post

        async def broken(claim: Any) -> None:
            if str(claim.run.run_id) == odd["run_id"]:
                raise RuntimeError("this one is odd")
            await post(claim)

        monkeypatch.setattr(service.submit_worker, "_post", broken)
        for _ in range(TRIES):
            await service.make_due()
            await service.send()
        assert (await service.submitted("healthy"))["phase"] == "ACTIVE"
        (aside,) = await quarantined(service)
        assert (aside["work"], aside["reason"]) == ("follow", "RuntimeError: this one is odd")
        monkeypatch.undo()
        await release(service, aside["number"])
        await service.send()
        assert (await service.run(odd["run_id"]))["phase"] == "ACTIVE"


def test_suspects_are_counted_and_forgotten() -> None:
    suspects = Suspects(limit=2)
    assert [suspects.failed("a"), suspects.failed("a")] == [1, 2]
    assert not suspects.alone("a")
    suspects.worked("b")
    assert suspects.alone("a")
    suspects.worked("a")
    assert suspects.failed("a") == 1
    suspects.failed("b")
    suspects.failed("c")
    assert suspects.failed("a") == 1, "only so many are remembered"
    assert cannot_be_read(KfpBadAnswer("what?"))
    assert not cannot_be_read(KfpBadAnswer("half", cut=True))
    assert not cannot_be_read(KfpUnreachable("gone", sent=True))
