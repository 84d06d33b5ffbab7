"""What reproducing asks the database: the newest version of data, the bundle of a DAG."""

from __future__ import annotations

from uuid import uuid4

from sqlmodel import Session

from bridge.domain.lineage import DatasetWrite, JobRunEvent
from bridge.lineage.database import Database
from bridge.lineage.datasets import inputs_of, record_job_event
from bridge.lineage.jobs import bundle_of
from bridge.lineage.versions import newest_versions
from tests.support.lineage_samples import T0, a_submission, partition, submit


def _event(version: str, **facets: object) -> JobRunEvent:
    return JobRunEvent(
        namespace="airflow",
        job="etl.write",
        ol_run_id=uuid4(),
        event_type="COMPLETE",
        event_time=T0,
        datasets=(DatasetWrite(uri=partition(5).uri, version=version),),
        facets={"run": dict(facets), "job": {}},
    )


def test_the_newest_version_that_anybody_told(database: Database) -> None:
    def write(session: Session) -> list[str]:
        run = submit(session, a_submission(inputs=(partition(5, version="v1"), partition(6))))
        record_job_event(session, "default", _event("v2"))
        inputs = inputs_of(session, run.run_id)
        newest = newest_versions(session, [item.dataset_id for item in inputs])
        return [newest.get(item.dataset_id, "unknown") for item in inputs]

    assert database.transact(write) == ["v2", "unknown"]


def test_the_bundle_of_the_asking_dag(database: Database) -> None:
    told = {"taskInstance": {"dag_bundle_name": "dags", "dag_bundle_version": "4f1c"}}
    event, plain = _event("v1", airflow=told), _event("v1", airflow={"dag": {}})

    def write(session: Session) -> list[object]:
        record_job_event(session, "default", event)
        record_job_event(session, "default", plain)
        asked = (event.ol_run_id, plain.ol_run_id, uuid4())
        return [bundle_of(session, "default", run_id) for run_id in asked]

    assert database.transact(write) == [("dags", "4f1c"), None, None]
