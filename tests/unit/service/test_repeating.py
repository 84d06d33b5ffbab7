"""What the second, third and fiftieth request of one submission get."""

from __future__ import annotations

import asyncio
from typing import Any

from bridge.domain.states import RunPhase
from tests.unit.service.harness import Harness

TASK = {
    "scheduler": "airflow",
    "dag_id": "retraining",
    "dag_run_id": "scheduled__2026-08-01",
    "dag_run_start": "2026-08-01T02:00:00Z",
    "task_id": "train",
    "max_tries": 2,
}


def origin(try_number: int = 1, **changes: Any) -> dict[str, Any]:
    return {**TASK, "try_number": try_number, **changes}


async def test_without_a_key_and_without_a_task_a_submission_is_refused(service: Harness) -> None:
    answer = await service.submit(None)
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:kfbridge:problem:missing-key"


async def test_a_repeat_gets_the_same_run(service: Harness) -> None:
    first = await service.submitted()
    again = await service.submit()
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["run_id"] == first["run_id"]
    assert len(service.kfp.workflows) == 1


async def test_fifty_at_once_make_one_run(service: Harness) -> None:
    answers = await asyncio.gather(*(service.submit() for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    await service.send()
    assert len(service.kfp.workflows) == 1


async def test_the_same_key_with_another_body_is_refused(service: Harness) -> None:
    await service.submitted()
    answer = await service.submit(arguments={"epochs": 4})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:kfbridge:problem:key-reused"


async def test_one_key_is_two_submissions_in_two_projects(service: Harness) -> None:
    first = await service.submitted()
    second = await service.submitted(project="other")
    assert first["run_id"] != second["run_id"]


async def test_a_repeat_is_answered_even_if_its_pipeline_is_gone_from_the_settings(
    service: Harness,
) -> None:
    first = await service.submitted()
    service.context.backends = {}
    again = await service.submit()
    assert again.json()["run_id"] == first["run_id"]


async def test_a_retry_while_the_run_is_active_adopts_it(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    retry = await service.submit(None, origin=origin(2))
    assert retry.json()["run_id"] == first["run_id"]
    assert retry.json()["warnings"] == []
    changed = await service.submit(None, origin=origin(3), arguments={"epochs": 9})
    assert changed.json()["run_id"] == first["run_id"]
    assert "other arguments" in changed.json()["warnings"][0]
    same_try = await service.submit(None, origin=origin(3), arguments={"epochs": 9})
    assert same_try.status_code == 202


async def test_a_retry_after_success_gets_the_same_run(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    await service.ended(first)
    retry = await service.submit(None, origin=origin(2))
    assert retry.json()["run_id"] == first["run_id"]
    assert retry.json()["over"] is True


async def test_a_retry_after_failure_makes_the_next_attempt_with_the_new_body(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    await service.ended(first, "FAILED")
    second = await service.submitted(None, origin=origin(2), arguments={"epochs": 5})
    assert second["run_id"] != first["run_id"]
    assert (second["attempt"], second["arguments"]) == (2, {"epochs": 5})
    assert service.kfp.workflows == [first["kfp_run_id"], second["kfp_run_id"]]


async def test_a_retry_after_failure_can_retry_the_failed_tasks(service: Harness) -> None:
    body = {"on_retry": "retry_failed_tasks"}
    first = await service.submitted(None, origin=origin(1), **body)
    ended = await service.ended(first, "FAILED")
    assert ended["over"] is True
    retry = await service.submit(None, origin=origin(2), **body)
    revived = retry.json()
    assert revived["run_id"] == first["run_id"]
    assert (revived["phase"], revived["state"], revived["over"]) == ("ACTIVE", "RUNNING", False)
    assert revived["revivals"] == 1
    done = await service.ended(first, "SUCCEEDED")
    assert (done["state"], done["over"]) == ("SUCCEEDED", True)
    assert len(service.kfp.workflows) == 1


async def test_a_zombie_try_is_refused(service: Harness) -> None:
    await service.submitted(None, origin=origin(2))
    answer = await service.submit(None, origin=origin(1))
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:kfbridge:problem:superseded"


async def test_a_retry_waits_for_a_run_that_is_being_canceled(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    await service.client.post(f"/api/v1/runs/{first['run_id']}:cancel", json={})
    answer = await service.submit(None, origin=origin(2))
    problem = answer.json()
    assert answer.status_code == 409
    assert (problem["type"], problem["retryable"]) == ("urn:kfbridge:problem:canceling", True)
    assert problem["retry_after_seconds"] > 0
    assert answer.headers["retry-after"] == "2"


async def test_a_cleared_task_cancels_the_old_run_and_then_starts_the_new_one(service: Harness) -> None:
    old = await service.submitted(None, origin=origin(1))
    service.kfp.start(old["kfp_run_id"])
    await service.sweep()
    new = await service.submitted(None, origin=origin(1, max_tries=3))
    assert new["run_id"] != old["run_id"]
    assert new["phase"] == "QUEUED"
    await service.cancel()
    assert service.kfp.runs[old["kfp_run_id"]]["state"] == "CANCELING"
    await service.send()
    assert service.kfp.posts() == 1
    service.kfp.finish(old["kfp_run_id"], "CANCELED")
    await service.follow()
    assert (await service.run(new["run_id"]))["phase"] == "ACTIVE"
    assert (await service.run(old["run_id"]))["state"] == "CANCELED"


async def test_a_cleared_task_can_adopt_the_old_run(service: Harness) -> None:
    old = await service.submitted(None, origin=origin(1))
    new = await service.submit(None, origin=origin(1, max_tries=3), on_clear="adopt")
    assert new.json()["run_id"] == old["run_id"]
    assert "adopted" in new.json()["warnings"][0]
    again = await service.submit(None, origin=origin(1, max_tries=3), on_clear="adopt")
    assert again.headers["idempotency-replayed"] == "true"
    stale = {"key": old["submission_key"], "try_number": 1}
    refused = await service.client.post(f"/api/v1/runs/{old['run_id']}:cancel", json=stale)
    assert refused.status_code == 409


async def test_a_cleared_task_can_leave_the_old_run_alone(service: Harness) -> None:
    old = await service.submitted(None, origin=origin(1))
    new = await service.submitted(None, origin=origin(1, max_tries=3), on_clear="detach")
    assert {run.phase for run in await service.stored()} == {RunPhase.ACTIVE}
    assert new["run_id"] != old["run_id"]
    assert (await service.run(old["run_id"]))["cancel_requested_at"] is None


async def test_a_dag_run_made_again_under_the_same_id_is_a_new_submission(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    await service.ended(first)
    second = await service.submit(None, origin=origin(1, dag_run_start="2026-08-02T02:00:00Z"))
    assert second.json()["run_id"] != first["run_id"]


async def test_a_retry_that_computes_the_same_is_not_warned_of(service: Harness) -> None:
    data = {"name": "flights", "uri": "file:///data", "version": "1"}
    first = await service.submitted(None, origin=origin(1), inputs=[data])
    body: dict[str, Any] = {"on_retry": "retry_failed_tasks", "labels": {"team": "a"}, "display_name": "x"}
    again = await service.submit(None, origin=origin(2), inputs=[data], **body)
    assert (again.json()["run_id"], again.json()["warnings"]) == (first["run_id"], [])


async def test_a_retry_that_would_be_refused_gets_the_run_and_a_warning(service: Harness) -> None:
    first = await service.submitted(None, origin=origin(1))
    again = await service.submit(None, origin=origin(2), arguments={"epochs": "ten"})
    assert again.json()["run_id"] == first["run_id"]
    assert "would be refused" in again.json()["warnings"][0]


async def test_there_is_no_try_zero(service: Harness) -> None:
    refused = await service.submit(None, origin=origin(0))
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/origin/try_number"
    run = await service.submitted(None, origin=origin(1))
    body = {"key": run["submission_key"], "try_number": 0}
    refused = await service.client.post(f"/api/v1/runs/{run['run_id']}:cancel", json=body)
    assert refused.status_code == 422


async def test_a_clear_in_a_dagrun_that_has_ended_finds_the_run_that_still_goes_on(service: Harness) -> None:
    """Its task was marked failed and nobody told the bridge; clearing it gives the DagRun a new start."""
    first = await service.submitted(None, origin=origin(1))
    service.kfp.start(first["kfp_run_id"])
    again = origin(1, max_tries=3, dag_run_start="2026-08-01T09:00:00Z")
    second = (await service.submit(None, origin=again)).json()
    await service.send()
    assert len(service.kfp.workflows) == 1
    await service.cancel()
    await service.ended(first, "CANCELED")
    await service.send()
    assert (await service.run(second["run_id"]))["phase"] == "ACTIVE"
    assert len(service.kfp.workflows) == 2
