"""OpenLineage events as Airflow's provider 2.20 sends them."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.domain.lineage import Direction
from bridge.service.openlineage import BadEvents, dataset_uri, read_events
from tests.unit.service.harness import Harness

RUN_ID = "01980c2e-1111-7000-8000-000000000001"
PARENT_ID = "01980c2e-2222-7000-8000-000000000002"


def event(**changes: Any) -> dict[str, Any]:
    return {
        "eventType": "COMPLETE",
        "eventTime": "2026-08-01T02:00:01.5+02:00",
        "producer": "https://github.com/apache/airflow/tree/providers-openlineage/2.20.0",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {
            "runId": RUN_ID,
            "facets": {
                "parent": {"run": {"runId": PARENT_ID}, "job": {"namespace": "default", "name": "etl"}},
                "airflow": {
                    "dag": {"dag_id": "flights_etl"},
                    "dagRun": {"run_id": "manual__1", "start_date": "2026-08-01T00:00:00Z"},
                    "task": {"task_id": "load"},
                    "taskInstance": {"try_number": 2, "map_index": 3},
                },
                "somebody_elses": {"kept": [1, None]},
            },
        },
        "job": {
            "namespace": "default",
            "name": "flights_etl.load",
            "facets": {"jobType": {"jobType": "TASK", "processingType": "BATCH"}},
        },
        "inputs": [{"namespace": "https://example.org", "name": "flights.csv"}],
        "outputs": [
            {
                "namespace": "file",
                "name": "/data/flights/day=1",
                "facets": {"version": {"datasetVersion": "abc"}},
                "outputFacets": {"outputStatistics": {"rowCount": 842, "size": 12345}},
            }
        ],
        **changes,
    }


@pytest.mark.parametrize(
    ("namespace", "name", "uri"),
    [
        ("file", "/data/x", "file:///data/x"),
        ("file", "data/x/", "file:///data/x"),
        ("file://", "/data/x", "file:///data/x"),
        ("s3://bucket", "a/b", "s3://bucket/a/b"),
        ("s3a://bucket", "/a/b", "s3://bucket/a/b"),
        ("gs://bucket", "a", "gs://bucket/a"),
        ("postgres://HOST:5432", "db.public.t", "postgres://host/db.public.t"),
        ("anything", "s3://bucket/key", "s3://bucket/key"),
        ("my ns", "table", "urn:openlineage:my%20ns:table"),
    ],
)
def test_one_dataset_has_one_uri(namespace: str, name: str, uri: str) -> None:
    assert dataset_uri(namespace, name) == uri


def test_an_event_of_airflow_is_understood() -> None:
    (told,) = read_events(event())
    assert (told.namespace, told.job, told.job_type) == ("default", "flights_etl.load", "TASK")
    assert str(told.ol_run_id) == RUN_ID
    assert str(told.parent_ol_run_id) == PARENT_ID
    assert told.event_time.isoformat() == "2026-08-01T00:00:01.500000+00:00"
    origin = told.origin
    assert origin is not None
    assert (origin.dag_id, origin.dag_run_id, origin.task_id) == ("flights_etl", "manual__1", "load")
    assert (origin.try_number, origin.map_index) == (2, 3)
    read, written = told.datasets
    assert (read.direction, read.uri) == (Direction.INPUT, "https://example.org/flights.csv")
    assert (written.uri, written.version) == ("file:///data/flights/day=1", "abc")
    assert (written.rows, written.bytes) == (842, 12345)
    assert told.facets["run"]["somebody_elses"] == {"kept": [1, None]}


def test_our_own_origin_is_preferred() -> None:
    told = event()
    told["run"]["facets"]["kfbridge_origin"] = {"dag_id": "d", "dag_run_id": "r", "task_id": "t"}
    (read,) = read_events(told)
    assert read.origin is not None
    assert read.origin.dag_id == "d"


def test_a_dag_run_s_event_names_no_task() -> None:
    facets = {"airflowDagRun": {"dag": {"dag_id": "etl"}, "dagRun": {"run_id": "manual__1"}}}
    (told,) = read_events(event(run={"runId": RUN_ID, "facets": facets}))
    assert told.origin is not None
    assert (told.origin.dag_id, told.origin.dag_run_id, told.origin.task_id) == ("etl", "manual__1", None)


def test_events_without_a_run_are_left_out() -> None:
    job_event = {"eventTime": "2026-08-01T00:00:00Z", "job": {"namespace": "a", "name": "b"}}
    assert read_events([job_event, event()]) == read_events(event())


@pytest.mark.parametrize(
    ("broken", "pointer"),
    [
        ({}, "/eventTime"),
        ([event(), {"eventTime": "x"}], "/1/eventTime"),
        (event(eventTime="2026-08-01T00:00:00"), "/eventTime"),
        (event(eventType="HAPPENED"), "/eventType"),
        (event(run={"runId": "1"}), "/run/runId"),
        (event(outputs=[{"namespace": "file"}]), "/outputs/0/name"),
        ("text", ""),
    ],
)
def test_what_is_no_event_is_pointed_at(broken: Any, pointer: str) -> None:
    with pytest.raises(BadEvents) as refused:
        read_events(broken)
    assert pointer in [place for place, _ in refused.value.errors]


async def test_events_are_stored_and_meet_what_a_pipeline_reads(service: Harness) -> None:
    answer = await service.client.post("/api/v1/lineage", json=[event(eventType="START"), event()])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2})
    inputs = [{"name": "flights", "uri": "file:///data/flights/day=1", "version": "abc"}]
    run = await service.submitted(inputs=inputs)
    explained = (await service.client.get(f"/api/v1/runs/{run['run_id']}/explain")).json()
    (read,) = explained["inputs"]
    assert (read["uri"], read["rows"]) == ("file:///data/flights/day=1", 842)
    assert read["producer"]["dag_id"] == "flights_etl"
    assert read["producer"]["task_id"] == "load"


async def test_bad_events_store_nothing(service: Harness) -> None:
    answer = await service.client.post("/api/v1/lineage", json=[event(), {"run": {}}])
    assert answer.status_code == 422
    assert "/1/run/runId" in [item["pointer"] for item in answer.json()["errors"]]
    broken = await service.client.post("/api/v1/lineage", content=b"{")
    assert broken.status_code == 422


async def test_the_task_that_asked_and_the_one_that_the_event_tells_of_are_one(service: Harness) -> None:
    parent = {
        "run_id": RUN_ID,
        "namespace": "default",
        "job": "flights_etl.load",
        "root_run_id": PARENT_ID,
        "root_namespace": "default",
        "root_job": "flights_etl",
    }
    names = {"dag_id": "flights_etl", "dag_run_id": "manual__1", "task_id": "load", "map_index": 3}
    run = await service.submitted("k1", origin={**names, "try_number": 2, "lineage": parent})
    assert run["origin"]["lineage"] == parent

    async def ancestors() -> list[tuple[str, str | None, str | None]]:
        told = (await service.client.get(f"/api/v1/runs/{run['run_id']}/explain")).json()["ancestors"]
        return [(one["run_id"], one["job"], one["state"]) for one in told]

    expected = (PARENT_ID, "flights_etl", None)
    assert await ancestors() == [(RUN_ID, "flights_etl.load", None), expected]
    assert (await service.client.post("/api/v1/lineage", json=event())).status_code == 202
    assert await ancestors() == [(RUN_ID, "flights_etl.load", "COMPLETE"), expected]


async def test_an_origin_with_half_a_parent_is_refused(service: Harness) -> None:
    answer = await service.submit(origin={"lineage": {"run_id": RUN_ID}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/origin/lineage/namespace")
