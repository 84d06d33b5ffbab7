"""Airflow's side page by page: jobs and their runs, datasets and their versions, and a run's own events."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.unit.service.harness import Harness

NAMESPACE = "prod/emea"


def event(job: str, *, state: str = "COMPLETE", version: str = "v1") -> dict[str, Any]:
    """What Airflow's provider tells of a run of a task that wrote a partition."""
    dag_id, _, task_id = job.partition(".")
    airflow = {
        "dag": {"dag_id": dag_id},
        "dagRun": {"run_id": f"r-{uuid4().hex[:6]}"},
        "task": {"task_id": task_id},
    }
    facets = {"version": {"datasetVersion": version}}
    return {
        "eventType": state,
        "eventTime": "2026-01-02T03:04:05Z",
        "producer": "urn:test",
        "run": {"runId": str(uuid4()), "facets": {"airflow": airflow}},
        "job": {"namespace": NAMESPACE, "name": job, "facets": {"jobType": {"jobType": "TASK"}}},
        "outputs": [{"namespace": "file", "name": "/data/flights", "facets": facets}],
    }


async def get(service: Harness, path: str, **params: Any) -> Any:
    answer = await service.client.get(f"/api/v1{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def told(service: Harness) -> Harness:
    events = [event("etl.write", version=f"v{number}") for number in range(3)] + [event("etl.check")]
    answer = await service.client.post("/api/v1/lineage", json=events)
    assert answer.status_code == 202, answer.text
    return service


async def test_jobs_and_their_runs_are_listed_page_by_page(told: Harness) -> None:
    first = await get(told, "/jobs", limit=1)
    second = await get(told, "/jobs", limit=1, cursor=first["next_cursor"])
    assert [one["name"] for one in first["items"] + second["items"]] == ["etl.check", "etl.write"]
    assert second["next_cursor"] is None
    assert first["items"][0] == {
        "project": "default",
        "namespace": NAMESPACE,
        "name": "etl.check",
        "type": "TASK",
    }
    assert (await get(told, "/jobs", namespace="other"))["items"] == []
    path = f"/jobs/{quote(NAMESPACE, safe='')}/etl.write/runs"
    runs = await get(told, path, limit=2)
    rest = await get(told, path, limit=2, cursor=runs["next_cursor"])
    assert len({one["run_id"] for one in runs["items"] + rest["items"]}) == 3
    assert {one["state"] for one in runs["items"]} == {"COMPLETE"}
    assert {(one["namespace"], one["job"], one["dag_id"]) for one in runs["items"]} == {
        (NAMESPACE, "etl.write", "etl")
    }


@pytest.mark.parametrize("path", ["/jobs/prod/emea/etl.write/runs", "/jobs/prod/nothing/runs"])
async def test_a_job_that_is_not_there_is_not_found(told: Harness, path: str) -> None:
    answer = await told.client.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:kfbridge:problem:not-found")


async def test_datasets_have_versions_and_these_a_producer(told: Harness) -> None:
    (dataset,) = (await get(told, "/datasets"))["items"]
    assert dataset["uri"] == "file:///data/flights"
    assert (await get(told, "/datasets", uri="/data/flights"))["items"] == [dataset]
    assert (await get(told, "/datasets", uri="/data/other"))["items"] == []
    assert (await get(told, "/datasets", project="other"))["items"] == []
    path = f"/datasets/{dataset['dataset_id']}"
    assert await get(told, path) == dataset
    versions = (await get(told, f"{path}/versions"))["items"]
    assert sorted(one["version"] for one in versions) == ["v0", "v1", "v2"]
    assert {one["producer"]["task_id"] for one in versions} <= {"write", "check"}
    assert (await told.client.get(f"/api/v1/datasets/{uuid4()}")).status_code == 404


async def test_a_cursor_of_another_listing_is_refused(told: Harness) -> None:
    cursor = (await get(told, "/jobs", limit=1))["next_cursor"]
    answer = await told.client.get("/api/v1/datasets", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/cursor")


async def test_a_run_tells_what_happened_to_it(service: Harness) -> None:
    other = await service.submitted("other")
    run = await service.ended(await service.submitted())
    await service.sequencer.step()
    path = f"/runs/{run['run_id']}/events"
    first = await get(service, path, limit=2)
    rest = await get(service, path, after=int(first["next_cursor"]))
    events = first["items"] + rest["items"]
    assert [one["number"] for one in events] == sorted(one["number"] for one in events)
    assert (events[0]["type"], events[-1]["type"]) == ("run.created", "run.settled")
    assert {one["run_id"] for one in events} == {run["run_id"]} != {other["run_id"]}


async def test_the_status_is_told_in_numbers(service: Harness) -> None:
    await service.submitted()
    answer = await service.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    assert 'kfbridge_backend_active_runs{backend="default"} 1' in lines
    assert 'kfbridge_backend_reachable{backend="default"} 1' in lines
    assert "kfbridge_read_only 0" in lines
    named = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(named) == len(set(named))
