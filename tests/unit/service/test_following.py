"""Sweeps: what is seen, how often the backend is asked, and what is not concluded."""

from __future__ import annotations

from uuid import UUID

import pytest

from bridge.domain.decide import Observation
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import runs
from bridge.lineage.database import Database
from bridge.lineage.database import now as database_now
from tests.support.fake_kfp import API
from tests.unit.service.harness import Harness, harness, mirror_of


def lists(service: Harness) -> int:
    return service.kfp.requests.count(("GET", f"{API}/runs"))


async def test_the_fast_sweep_costs_the_same_however_many_runs_are_active(service: Harness) -> None:
    await service.submitted("one")
    await service.sweep()
    before = lists(service)
    await service.track_worker.step()
    few = lists(service) - before
    for index in range(30):
        await service.submitted(f"more-{index}")
    before = lists(service)
    await service.track_worker.step()
    assert lists(service) - before == few == 1


async def test_an_end_told_late_and_out_of_order_is_not_missed(service: Harness) -> None:
    first, second = await service.submitted("a"), await service.submitted("b")
    service.kfp.finish(first["kfp_run_id"])
    await service.track_worker.step()
    service.kfp.finish(second["kfp_run_id"], seconds_ago=300)
    await service.track_worker.step()
    phases = {run.display_name: run.phase for run in await service.stored()}
    assert set(phases.values()) == {RunPhase.ENDED}


async def test_ends_that_are_known_cost_no_writes(service: Harness) -> None:
    run = await service.submitted()
    ended = await service.ended(run)
    for _ in range(3):
        await service.sweep()
    assert (await service.run(run["run_id"]))["version"] == ended["version"]


@pytest.mark.parametrize("state", ["", "TELEPORTING"])
async def test_a_state_that_is_absent_or_unknown_ends_nothing(service: Harness, state: str) -> None:
    run = await service.submitted()
    service.kfp.runs[run["kfp_run_id"]]["state"] = state
    await service.follow()
    assert (await service.run(run["run_id"]))["phase"] == "ACTIVE"


async def test_a_run_deleted_at_the_backend_is_a_tombstone_with_its_history(service: Harness) -> None:
    run = await service.submitted()
    del service.kfp.runs[run["kfp_run_id"]]
    await service.sweep()
    lost = await service.run(run["run_id"])
    assert (lost["phase"], lost["over"], lost["state"]) == ("LOST", True, "FAILED")
    assert "no longer knows" in lost["error"]["message"]


async def test_a_run_revived_elsewhere_goes_on_here(service: Harness) -> None:
    run = await service.submitted()
    await service.ended(run, "FAILED")
    service.kfp.runs[run["kfp_run_id"]].update(state="RUNNING", finished_at="1970-01-01T00:00:00Z")
    await service.sweep()
    revived = await service.run(run["run_id"])
    assert (revived["phase"], revived["revivals"], revived["over"]) == ("ACTIVE", 1, False)
    assert revived["error"] is None
    assert (await service.ended(run))["state"] == "SUCCEEDED"


async def test_what_ends_between_the_reading_of_its_row_and_the_lock_stays_ended(
    service: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await service.submitted()
    asked_at = await service.context.store.read(database_now)
    (before,) = await service.stored()
    await service.ended(run)
    # As PostgreSQL shows a row that another transaction is changing.
    monkeypatch.setattr(runs, "get_by_kfp_id", lambda *_: {before.kfp_run_id: before})
    seen = Observation(kfp_run_id=before.kfp_run_id, state=RuntimeState.RUNNING, asked_at=asked_at)
    await service.track_worker.record({before.kfp_run_id: seen})
    found = await service.run(run["run_id"])
    assert (found["phase"], found["state"], found["revivals"]) == ("ENDED", "SUCCEEDED", 0)


async def test_the_api_s_retry_revives(service: Harness) -> None:
    run = await service.submitted()
    refused = await service.client.post(f"/api/v1/runs/{run['run_id']}:retry")
    assert refused.status_code == 409
    await service.ended(run, "FAILED")
    answer = await service.client.post(f"/api/v1/runs/{run['run_id']}:retry")
    assert (answer.status_code, answer.json()["phase"]) == (202, "ACTIVE")


async def test_an_attempt_that_another_followed_is_not_revived_beside_it(service: Harness) -> None:
    task = {"dag_id": "d", "dag_run_id": "r", "task_id": "t"}
    first = await service.submitted(None, origin={**task, "try_number": 1})
    await service.ended(first, "FAILED")
    second = await service.submitted(None, origin={**task, "try_number": 2})
    assert (second["attempt"], second["phase"]) == (2, "ACTIVE")
    refused = await service.client.post(f"/api/v1/runs/{first['run_id']}:retry")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:kfbridge:problem:superseded")
    assert service.kfp.runs[first["kfp_run_id"]]["state"] == "FAILED"


async def test_runs_of_others_are_found_followed_and_mirrored(service: Harness) -> None:
    foreign = service.kfp.add_foreign_run(runtime_config={"parameters": {"epochs": 1}})
    service.kfp.mirrors[foreign] = mirror_of(metrics={"evaluate.auc": 0.7})
    await service.sweep()
    (found,) = await service.stored()
    assert (found.kfp_run_id, found.phase, found.submission_key) == (foreign, RunPhase.ACTIVE, None)
    assert found.arguments == {"epochs": 1}
    service.kfp.finish(foreign)
    await service.follow()
    (found,) = await service.stored()
    assert (found.phase, found.state) == (RunPhase.ENDED, RuntimeState.SUCCEEDED)
    metrics = await service.client.get(f"/api/v1/runs/{found.run_id}/metrics")
    assert metrics.json()["scalars"][0]["key"] == "evaluate.auc"


async def test_a_backend_that_is_away_is_stale_and_its_runs_are_not_failed(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.down = True
    pause = await service.track_worker.step()
    assert pause.seconds > 0
    shown = await service.run(run["run_id"])
    assert (shown["phase"], shown["state"]) == ("ACTIVE", "PENDING")
    assert shown["stale_since"] is not None
    status = (await service.client.get("/status")).json()
    assert status["backends"][0]["reachable"] is False
    assert (await service.client.get("/readyz")).status_code == 200
    service.kfp.down = False
    await service.track_worker.step()
    assert (await service.run(run["run_id"]))["stale_since"] is None
    assert (await service.client.get("/status")).json()["backends"][0]["reachable"] is True


async def test_namespaces_are_listed_one_by_one(database: Database) -> None:
    async with harness(database, backend={"namespaces": ["team-a", "team-b"]}) as service:
        service.kfp.multi_user = True
        run = await service.submitted()
        assert run["namespace"] == "team-a"
        await service.sweep()
        assert lists(service) == 4
        assert (await service.ended(run))["state"] == "SUCCEEDED"


async def test_the_pause_is_twenty_times_the_sweep(service: Harness) -> None:
    pause = await service.track_worker.step()
    state = (await service.client.get("/status")).json()["backends"][0]
    assert pause.least_seconds >= 20 * state["last_sweep_seconds"]


async def test_many_ends_are_read_page_by_page(service: Harness) -> None:
    ids = [service.kfp.add_foreign_run() for _ in range(450)]
    for kfp_run_id in ids:
        service.kfp.finish(kfp_run_id)
    await service.sweep()
    found = await service.client.get("/api/v1/runs", params={"limit": 200, "state": "SUCCEEDED"})
    page = found.json()
    assert (len(page["items"]), page["next_cursor"] is not None) == (200, True)
    seen = {UUID(item["kfp_run_id"]) for item in page["items"]}
    while page["next_cursor"]:
        params = {"limit": 200, "state": "SUCCEEDED", "cursor": page["next_cursor"]}
        page = (await service.client.get("/api/v1/runs", params=params)).json()
        seen |= {UUID(item["kfp_run_id"]) for item in page["items"]}
    assert seen == set(ids)
