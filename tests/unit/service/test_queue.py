"""The queue as callers and readers meet it: caps, turns, why a run waits, and when no more is taken on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from bridge.lineage.database import Database
from bridge.service.backend_settings import ProjectSettings
from tests.unit.service.harness import Harness, harness

PROBLEM = "urn:kfbridge:problem:"


async def backfill(service: Harness, count: int, project: str = "backfill") -> list[dict[str, Any]]:
    """That many accepted submissions of the project."""
    answers = [await service.submit(f"{project}-{number}", project=project) for number in range(count)]
    assert {answer.status_code for answer in answers} == {202}
    return [answer.json() for answer in answers]


async def sent(service: Harness) -> Counter[str]:
    """How many runs of each project the backend was given."""
    return Counter(run.project for run in await service.stored() if str(run.kfp_run_id) in service.kfp.runs)


async def test_a_cap_holds_and_an_end_makes_room(database: Database) -> None:
    async with harness(database, max_active_runs=2) as service:
        runs = await backfill(service, 4)
        await service.send()
        assert await sent(service) == {"backfill": 2}
        waiting = await service.run(runs[3]["run_id"])
        assert waiting["phase"] == "QUEUED"
        assert waiting["waiting"] == "queued: project cap 2 reached, 1 before it"
        assert (await service.run(runs[0]["run_id"]))["waiting"] is None
        page = (await service.client.get("/api/v1/runs")).json()["items"]
        assert [run["waiting"] is not None for run in page] == [True, True, False, False]
        await service.ended(await service.run(runs[0]["run_id"]))
        assert await sent(service) == {"backfill": 3}


async def test_another_project_passes_and_status_tells_of_both(database: Database) -> None:
    projects = {"backfill": ProjectSettings(max_active_runs=2, weight=0.5)}
    async with harness(database, projects=projects) as service:
        await backfill(service, 5)
        await service.send()
        await backfill(service, 1, "other")
        await service.send()
        assert await sent(service) == {"backfill": 2, "other": 1}
        (told,) = (await service.client.get("/api/v1/status")).json()["backends"]
        by_project = {one["project"]: one for one in told["queues"]}
        backfilled = by_project["backfill"]
        assert (backfilled["waiting"], backfilled["active"]) == (3, 2)
        assert (backfilled["max_active_runs"], backfilled["weight"]) == (2, 0.5)
        assert backfilled["oldest_seconds"] >= 0
        assert (by_project["other"]["waiting"], by_project["other"]["oldest_at"]) == (0, None)


async def test_a_backends_own_cap(database: Database) -> None:
    async with harness(database, backend={"max_active_runs": 1}) as service:
        first, second = await backfill(service, 2)
        await service.send()
        assert await sent(service) == {"backfill": 1}
        assert (await service.run(second["run_id"]))[
            "waiting"
        ] == "queued: backend cap 1 reached, 0 before it"
        await service.ended(await service.run(first["run_id"]))
        assert await sent(service) == {"backfill": 2}


async def test_a_run_in_the_queue_can_be_canceled(database: Database) -> None:
    async with harness(database, max_active_runs=1) as service:
        _, second, third = await backfill(service, 3)
        await service.send()
        await service.client.post(f"/api/v1/runs/{second['run_id']}:cancel", json={})
        await service.send()
        gone = await service.run(second["run_id"])
        assert (gone["phase"], gone["state"]) == ("ENDED", "CANCELED")
        assert (await service.run(third["run_id"]))["waiting"] == "queued: project cap 1 reached, 0 before it"


async def test_a_run_that_follows_another_takes_its_turn_afterwards(database: Database) -> None:
    async with harness(database, max_active_runs=1) as service:
        origin = {"dag_id": "d", "dag_run_id": "r", "task_id": "t"}
        first = await service.submitted(None, origin=origin)
        service.kfp.start(first["kfp_run_id"])
        answer = await service.submit(None, origin={**origin, "max_tries": 1})
        second = answer.json()
        await service.send()
        assert (await service.run(second["run_id"]))["waiting"] == (
            f"queued: sent when run {first['run_id']} has ended"
        )
        await service.ended(first, "CANCELED")
        await service.make_due()
        await service.send()
        assert (await service.run(second["run_id"]))["phase"] == "ACTIVE"


async def test_a_full_queue_refuses_and_loses_nothing(database: Database) -> None:
    projects = {"small": ProjectSettings(max_queued_runs=1)}
    async with harness(database, max_active_runs=1, max_queued_runs=2, projects=projects) as service:
        await backfill(service, 2)
        refused = await service.submit("one-more", project="backfill")
        problem = refused.json()
        assert (refused.status_code, problem["type"]) == (429, PROBLEM + "queue-full")
        assert problem["retryable"] is True
        assert int(refused.headers["retry-after"]) >= 1
        # What was accepted is answered as ever, and another project is not concerned.
        again = await service.submit("backfill-0", project="backfill")
        assert (again.status_code, again.headers["idempotency-replayed"]) == (202, "true")
        await backfill(service, 1, "small")
        assert (await service.submit("x", project="small")).status_code == 429
        assert len(await service.stored()) == 3


async def test_a_queue_that_is_full_for_everybody(database: Database) -> None:
    async with harness(database, max_queued_runs_overall=2) as service:
        await backfill(service, 1, "a")
        await backfill(service, 1, "b")
        refused = await service.submit("c", project="c")
        assert (refused.status_code, refused.json()["type"]) == (503, PROBLEM + "overloaded")
        assert (refused.json()["retryable"], "retry-after" in refused.headers) == (True, True)


async def test_a_stopping_service_takes_nothing_on(service: Harness) -> None:
    accepted = await service.submit("k")
    service.context.stop_waiting()
    refused = await service.submit("other")
    assert (refused.status_code, refused.json()["type"]) == (503, PROBLEM + "stopping")
    assert int(refused.headers["retry-after"]) >= 1
    again = await service.submit("k")
    assert (again.status_code, again.json()["run_id"]) == (202, accepted.json()["run_id"])
    assert (await service.client.get("/readyz")).status_code == 503


@pytest.mark.parametrize("weight", [0, -1])
def test_a_weight_is_more_than_nothing(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        ProjectSettings(weight=weight)
