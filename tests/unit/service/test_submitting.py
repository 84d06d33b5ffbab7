"""At most one live KFP run per submission, whatever the backend answers."""

from __future__ import annotations

import pytest

from bridge.domain.states import RunPhase
from bridge.lineage.database import Database
from tests.support.fake_kfp import API
from tests.unit.service.harness import Harness, harness


async def test_a_submission_is_sent_at_once_and_followed_to_its_end(service: Harness) -> None:
    answer = await service.submit()
    assert answer.status_code == 202
    assert answer.json()["phase"] == "QUEUED"
    assert answer.headers["location"] == f"/api/v1/runs/{answer.json()['run_id']}"
    await service.send()
    run = await service.run(answer.json()["run_id"])
    assert (run["phase"], run["state"]) == ("ACTIVE", "PENDING")
    row = service.kfp.runs[run["kfp_run_id"]]
    assert row["runtime_config"]["parameters"] == {"epochs": 3}
    service.kfp.start(run["kfp_run_id"])
    await service.sweep()
    assert (await service.run(run["run_id"]))["state"] == "RUNNING"
    ended = await service.ended(run)
    assert (ended["state"], ended["over"], ended["good"], ended["mirror"]) == (
        "SUCCEEDED",
        True,
        True,
        "COMPLETE",
    )
    assert service.kfp.workflows == [run["kfp_run_id"]]


async def test_a_spec_is_uploaded_once_per_digest(service: Harness) -> None:
    for key in ("a", "b", "c"):
        await service.submitted(key)
    uploads = [path for method, path in service.kfp.requests if method == "POST" and "upload" in path]
    assert uploads == [f"{API}/pipelines/upload"]
    assert len(service.kfp.experiments) == 1
    assert service.kfp.posts() == 3


async def test_another_digest_becomes_a_version_named_after_it(service: Harness) -> None:
    await service.submitted("a")
    second = await service.submitted("b", caching=False)
    names = [version["name"] for version in service.kfp.versions.values()]
    assert names == ["training", second["pipeline"]["digest"][:16]]


async def test_a_lost_answer_leads_to_adoption_and_never_to_a_second_post(service: Harness) -> None:
    service.kfp.drop_answer("POST", f"{API}/runs")
    run = await service.submitted()
    assert run["phase"] == "SUBMITTING"
    await service.make_due()
    await service.send()
    run = await service.run(run["run_id"])
    assert (run["phase"], run["attempt"]) == ("ACTIVE", 1)
    assert service.kfp.posts() == 1


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_server_error_is_ambiguous_and_looked_up(service: Harness, status: int) -> None:
    service.kfp.refuse("POST", f"{API}/runs", status)
    run = await service.submitted()
    assert run["phase"] == "SUBMITTING"
    assert service.kfp.posts() == 1


async def test_an_orphan_workflow_costs_its_grace_and_then_a_new_attempt(database: Database) -> None:
    no_grace = {"orphan_grace_seconds": 0, "agent_backoff_seconds": 0}
    async with harness(database, backend=no_grace) as service:
        service.kfp.orphan_next = True
        first = await service.submitted()
        assert first["phase"] == "SUBMITTING"
        await service.make_due()
        await service.send()
        stored = {run.attempt: run for run in await service.stored()}
        assert stored[1].phase is RunPhase.ABANDONED
        assert stored[2].phase is RunPhase.ACTIVE
        assert stored[1].kfp_run_id != stored[2].kfp_run_id
        assert service.kfp.workflows == [str(stored[1].kfp_run_id), str(stored[2].kfp_run_id)]
        repeat = await service.submit()
        assert repeat.json()["run_id"] == str(stored[2].run_id)


async def test_an_abandoned_attempt_that_shows_up_is_terminated(database: Database) -> None:
    no_grace = {"orphan_grace_seconds": 0, "agent_backoff_seconds": 0}
    async with harness(database, backend=no_grace) as service:
        service.kfp.orphan_next = True
        first = await service.submitted()
        await service.make_due()
        await service.send()
        lost = first["kfp_run_id"]
        service.kfp.add_foreign_run(run_id=lost)
        service.kfp.runs[lost] = {**next(iter(service.kfp.runs.values())), "run_id": lost, "state": "RUNNING"}
        await service.follow()
        assert service.kfp.runs[lost]["state"] == "CANCELING"
        assert (await service.run(first["run_id"]))["phase"] == "ABANDONED"


async def test_within_the_grace_a_missing_run_is_waited_for(service: Harness) -> None:
    service.kfp.orphan_next = True
    first = await service.submitted()
    await service.make_due()
    await service.send()
    assert (await service.run(first["run_id"]))["phase"] == "SUBMITTING"
    assert service.kfp.posts() == 1


async def test_a_refused_connection_leaves_the_run_queued_and_the_backend_stale(service: Harness) -> None:
    service.kfp.down = True
    run = await service.submitted()
    assert run["phase"] == "QUEUED"
    assert run["stale_since"] is not None
    service.kfp.down = False
    await service.make_due()
    await service.send()
    run = await service.run(run["run_id"])
    assert (run["phase"], run["stale_since"]) == ("ACTIVE", None)
    assert service.kfp.posts() == 1


async def test_too_many_requests_leaves_the_run_queued(service: Harness) -> None:
    service.kfp.refuse("POST", f"{API}/runs", 429, **{"Retry-After": "7"})
    run = await service.submitted()
    assert run["phase"] == "QUEUED"
    await service.make_due()
    await service.send()
    assert (await service.run(run["run_id"]))["phase"] == "ACTIVE"


@pytest.mark.parametrize(
    ("status", "advice"), [(401, "KFBRIDGE_KFP_TOKEN"), (403, "service account"), (400, "submit again")]
)
async def test_a_refusal_is_definitive_and_says_what_to_do(
    service: Harness, status: int, advice: str
) -> None:
    service.kfp.refuse("POST", f"{API}/runs", status)
    run = await service.submitted()
    assert (run["phase"], run["state"], run["over"]) == ("REJECTED", "FAILED", True)
    assert advice in run["error"]["message"]
    assert run["error"]["code"] == f"HTTP_{status}"


async def test_a_wrong_token_is_rejected_before_anything_is_made(service: Harness) -> None:
    service.kfp.token = "right"
    run = await service.submitted()
    assert run["phase"] == "REJECTED"
    assert "bearer token" in run["error"]["message"]
    assert service.kfp.workflows == []


async def test_a_version_deleted_at_the_backend_is_uploaded_again(service: Harness) -> None:
    await service.submitted("a")
    service.kfp.versions.clear()
    service.kfp.pipelines.clear()
    run = await service.submitted("b")
    await service.make_due()
    await service.send()
    assert (await service.run(run["run_id"]))["phase"] == "ACTIVE"
    assert len(service.kfp.versions) == 1


async def test_a_rejected_run_cannot_be_retried_and_says_to_submit_again(service: Harness) -> None:
    service.kfp.token = "right"
    run = await service.submitted()
    assert "submit it again" in run["error"]["message"]
    assert "retry" not in run["error"]["message"]
    refused = await service.client.post(f"/api/v1/runs/{run['run_id']}:retry")
    assert refused.status_code == 409
    assert "REJECTED" in refused.json()["detail"]
    assert "submit it again" in refused.json()["detail"]


async def test_a_run_that_waits_for_a_backend_says_why(service: Harness) -> None:
    service.kfp.down = True
    await service.sweep()
    answer = await service.submit()
    (told,) = answer.json()["warnings"]
    assert told.startswith("backend default at http://kfp.example has not answered since ")
    assert service.backend.last_error is not None
    assert service.backend.last_error in told
    assert told.endswith("the run is sent when it does")
    assert (await service.run(answer.json()["run_id"]))["warnings"] == [told]
    service.kfp.down = False
    await service.make_due()
    await service.send()
    assert (await service.run(answer.json()["run_id"]))["warnings"] == []


async def test_refused_credentials_are_not_told_as_silence(
    service: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    service.kfp.token = "right"
    await service.sweep()
    answer = await service.submit()
    (told,) = answer.json()["warnings"]
    assert "has refused the bridge's credentials since " in told
    assert "HTTP 401" in told
    (backend,) = (await service.client.get("/api/v1/status")).json()["backends"]
    assert backend["trouble"] == "refuses the bridge's credentials"
    assert "does not answer" not in caplog.text


async def test_a_backend_that_is_not_kfp_is_told(service: Harness) -> None:
    service.kfp.refuse("GET", f"{API}/runs", 404)
    await service.sweep()
    (told,) = (await service.submit()).json()["warnings"]
    assert "has not answered as KFP does since " in told


async def test_the_trouble_another_process_met_is_told_as_well(service: Harness) -> None:
    service.kfp.down = True
    await service.sweep()
    service.backend.stale_since = service.backend.last_error = None
    (told,) = (await service.submit()).json()["warnings"]
    assert "has not answered since " in told
