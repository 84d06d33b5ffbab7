"""What Airflow's ETL wrote and what the pipeline read are the same rows, whoever tells of them first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlmodel import Session

from bridge.domain.identity import Origin
from bridge.domain.lineage import DatasetWrite, Direction, InputVersion, JobRunEvent, Run
from bridge.lineage.database import Database
from bridge.lineage.datasets import inputs_of, record_inputs, record_job_event
from bridge.lineage.errors import NotStored
from bridge.lineage.mirror import artifacts_of, store_mirror
from bridge.lineage.tables import ARTIFACTS, DATASET_USES, DATASET_VERSIONS, DATASETS, JOB_RUNS, JOBS
from tests.support.lineage_samples import ETL, T0, a_mirror, partition, some_uuid, submit

URI = "file:///data/flights/day=05/flights.parquet"
# The same place as others spell it.
SPELLED = "file://localhost/data//flights/./day%3D05/flights.parquet/"


def rows(database: Database, table: Any) -> list[dict[str, Any]]:
    """All rows of a table."""
    return database.read(
        lambda session: [dict(row) for row in session.execute(select(table).order_by(table.c.id)).mappings()]
    )


def etl_event(
    event_type: str = "COMPLETE", *, version: str | None = None, try_number: int = 1, **fields: Any
) -> JobRunEvent:
    """What OpenLineage says of the ETL task that wrote the partition."""
    values: dict[str, Any] = {
        "namespace": "airflow",
        "job": "flights_etl.write",
        "ol_run_id": some_uuid(900 + try_number),
        "event_type": event_type,
        "event_time": T0 + timedelta(minutes=1),
        "job_type": "TASK",
        "origin": replace(ETL, try_number=try_number),
        "datasets": (DatasetWrite(uri=SPELLED, version=version, rows=842),),
    }
    return JobRunEvent(**(values | fields))


def told_by_event(version: str | None) -> Callable[[Session, Run], object]:
    return lambda session, run: record_job_event(session, "default", etl_event(version=version))


def told_by_input(version: str | None) -> Callable[[Session, Run], object]:
    item = InputVersion(name="flights", uri=URI, version=version, version_kind="sha256", producer=ETL)
    return lambda session, run: record_inputs(session, run.run_id, "default", [item])


def told_by_importer() -> Callable[[Session, Run], object]:
    return lambda session, run: store_mirror(session, run.run_id, a_mirror(data_uri=SPELLED))


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("event_version", ["sha-1", None])
def test_the_partition_written_and_the_partition_read_are_one_row(
    database: Database, order: tuple[int, ...], event_version: str | None
) -> None:
    run = database.transact(submit)
    tellers = [told_by_event(event_version), told_by_input("sha-1"), told_by_importer()]
    for _ in range(2):
        for place in order:
            database.transact(lambda session, place=place: tellers[place](session, run))
    (dataset,) = rows(database, DATASETS)
    assert dataset["uri"] == URI
    named = [row for row in rows(database, DATASET_VERSIONS) if row["version"] == "sha-1"]
    assert len(named) == 1
    (job_run,) = rows(database, JOB_RUNS)
    assert (job_run["dag_id"], job_run["state"], job_run["ol_run_id"]) == (
        "flights_etl",
        "COMPLETE",
        some_uuid(901),
    )
    assert named[0]["producer"] == job_run["id"]
    assert named[0]["rows"] == 842
    assert named[0]["written_at"] == T0 + timedelta(minutes=1)
    edges = {
        (use["via"], use["direction"], use["run"] is not None)
        for use in rows(database, DATASET_USES)
        if use["version"] == named[0]["id"]
    }
    assert edges == {("input", "INPUT", True), ("openlineage", "OUTPUT", False)}
    imported = [row for row in rows(database, ARTIFACTS) if row["type"] == "system.Dataset"]
    assert [row["dataset"] for row in imported] == [dataset["id"]]
    (item,) = database.read(lambda session: inputs_of(session, run.run_id))
    assert (item.uri, item.version, item.rows, item.declared) == (URI, "sha-1", 842, True)
    assert item.producer is not None
    assert item.producer.dag_run_id == "scheduled__2013-01-05"


def test_an_importer_alone_makes_an_input_whose_version_is_unknown(database: Database) -> None:
    run = database.transact(submit)
    for _ in range(2):
        database.transact(lambda session: told_by_importer()(session, run))
    (item,) = database.read(lambda session: inputs_of(session, run.run_id))
    assert (item.uri, item.name, item.declared) == (URI, "importer", False)
    assert (item.version, item.producer) == (None, None)


def test_an_artifact_that_is_not_data_of_a_job_belongs_to_no_dataset(database: Database) -> None:
    run = database.transact(submit)
    database.transact(lambda session: store_mirror(session, run.run_id, a_mirror()))
    assert rows(database, DATASETS) == []
    (artifact,) = database.read(lambda session: artifacts_of(session, run.run_id))
    model = DatasetWrite(uri=artifact.uri or "", direction=Direction.INPUT)
    database.transact(lambda session: record_job_event(session, "default", etl_event(datasets=(model,))))
    (dataset,) = rows(database, DATASETS)
    assert [row["dataset"] for row in rows(database, ARTIFACTS)] == [dataset["id"]]


def test_projects_keep_their_datasets_apart(database: Database) -> None:
    for project in ("a", "b"):
        database.transact(lambda session, project=project: record_job_event(session, project, etl_event()))
    assert [row["project"] for row in rows(database, DATASETS)] == ["a", "b"]
    assert len({row["dataset_id"] for row in rows(database, DATASETS)}) == 2


def test_versions_nobody_named_stay_apart_by_who_wrote_them(database: Database) -> None:
    database.transact(lambda session: record_job_event(session, "default", etl_event()))
    next_day = replace(ETL, dag_run_id="scheduled__2013-01-06")
    later = etl_event(origin=next_day, ol_run_id=some_uuid(950))
    database.transact(lambda session: record_job_event(session, "default", later))
    assert len(rows(database, DATASETS)) == 1
    assert [row["version"] for row in rows(database, DATASET_VERSIONS)] == ["", ""]
    run = database.transact(submit)
    database.transact(
        lambda session: record_inputs(
            session, run.run_id, "default", [InputVersion(name="x", uri=URI, producer=next_day)]
        )
    )
    (item,) = database.read(lambda session: inputs_of(session, run.run_id))
    assert item.version is None
    assert item.producer is not None
    assert item.producer.dag_run_id == "scheduled__2013-01-06"


def test_the_try_that_wrote_is_the_producer_not_the_one_that_failed(database: Database) -> None:
    database.transact(lambda session: record_job_event(session, "default", etl_event("FAIL", try_number=1)))
    database.transact(
        lambda session: record_job_event(session, "default", etl_event(version="v", try_number=2))
    )
    run = database.transact(submit)
    database.transact(
        lambda session: record_inputs(
            session, run.run_id, "default", [partition(5, version="v", producer=ETL)]
        )
    )
    (item,) = database.read(lambda session: inputs_of(session, run.run_id))
    assert item.producer is not None
    assert item.producer.try_number == 2
    assert len(rows(database, JOB_RUNS)) == 2


def test_outputs_count_only_when_the_work_was_done(database: Database) -> None:
    for event_type in ("START", "FAIL", "ABORT"):
        database.transact(
            lambda session, event_type=event_type: record_job_event(session, "default", etl_event(event_type))
        )
    assert rows(database, DATASETS) == []


def test_events_may_come_in_any_order_and_twice(database: Database) -> None:
    start = etl_event("START", event_time=T0, facets={"a": 1})
    complete = etl_event("COMPLETE", facets={"b": 2}, parent_ol_run_id=some_uuid(3))
    for event in (complete, start, complete, start):
        database.transact(lambda session, event=event: record_job_event(session, "default", event))
    (job_run,) = rows(database, JOB_RUNS)
    assert (job_run["state"], job_run["started_at"]) == ("COMPLETE", T0)
    assert job_run["finished_at"] == T0 + timedelta(minutes=1)
    assert (job_run["facets"], job_run["parent_ol_run_id"]) == ({"a": 1, "b": 2}, some_uuid(3))
    (job,) = rows(database, JOBS)
    assert (job["namespace"], job["name"], job["job_type"]) == ("airflow", "flights_etl.write", "TASK")


def test_an_event_that_names_its_task_late_joins_the_row_of_the_task(database: Database) -> None:
    nameless = etl_event(origin=None)
    database.transact(lambda session: record_job_event(session, "default", nameless))
    run = database.transact(submit)
    database.transact(lambda session: told_by_input("sha-1")(session, run))
    assert len(rows(database, JOB_RUNS)) == 2
    database.transact(lambda session: record_job_event(session, "default", etl_event(version="sha-1")))
    (job_run,) = rows(database, JOB_RUNS)
    assert job_run["task_id"] == "write"
    uses = rows(database, DATASET_USES)
    assert sorted(use["via"] for use in uses) == ["input", "openlineage"]


def test_a_dag_run_and_its_tasks_are_different_job_runs(database: Database) -> None:
    dag = Origin(dag_id="flights_etl", dag_run_id="scheduled__2013-01-05")
    for origin, number in ((dag, 1), (ETL, 2)):
        event = etl_event(origin=origin, ol_run_id=some_uuid(number), job=f"job{number}", datasets=())
        database.transact(lambda session, event=event: record_job_event(session, "default", event))
    assert [row["task_id"] for row in rows(database, JOB_RUNS)] == ["", "write"]


def test_ten_thousand_inputs_are_stored_at_once(database: Database) -> None:
    run = database.transact(submit)
    inputs = [
        InputVersion(name="flights", uri=f"s3://lake/part={number}", version=str(number), producer=ETL)
        for number in range(10_000)
    ]
    database.transact(lambda session: record_inputs(session, run.run_id, "default", inputs))
    found = database.read(lambda session: inputs_of(session, run.run_id))
    assert [item.uri for item in found] == [item.uri for item in inputs]
    count = database.read(lambda session: session.scalars(select(func.count()).select_from(JOB_RUNS)).one())
    assert count == 1


def test_what_cannot_be_recorded_is_refused(database: Database) -> None:
    with pytest.raises(NotStored):
        database.transact(lambda session: record_inputs(session, some_uuid(1), "default", [partition(5)]))
    run = database.transact(submit)
    with pytest.raises(ValueError, match="neither a URI"):
        database.transact(
            lambda session: record_inputs(
                session, run.run_id, "default", [InputVersion(name="x", uri="data")]
            )
        )
    assert rows(database, DATASETS) == []
