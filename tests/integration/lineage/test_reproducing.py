"""What reproducing asks the database: newer versions of data, the bundle of a DAG."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlmodel import Session

from bridge.domain.lineage import DatasetWrite, JobRunEvent, Run
from bridge.lineage.database import Database
from bridge.lineage.datasets import inputs_of, record_job_event
from bridge.lineage.jobs import bundle_of
from bridge.lineage.versions import newer_versions
from tests.support.lineage_samples import T0, a_submission, partition, submit


def _event(version: str, *, days: int = 1, **facets: object) -> JobRunEvent:
    return JobRunEvent(
        namespace="airflow",
        job="etl.write",
        ol_run_id=uuid4(),
        event_type="COMPLETE",
        event_time=T0 + timedelta(days=days),
        datasets=(DatasetWrite(uri=partition(5).uri, version=version),),
        facets={"run": dict(facets), "job": {}},
    )


def _reader(session: Session, version: str, kind: str | None = "sha256") -> Run:
    inputs = (partition(5, version=version, version_kind=kind), partition(6))
    return submit(session, a_submission(inputs=inputs))


def _newer(session: Session, run: Run) -> list[str | None]:
    newer = newer_versions(session, run.run_id)
    return [newer.get((item.dataset_id, item.version or "")) for item in inputs_of(session, run.run_id)]


def test_a_version_that_was_written_since(database: Database) -> None:
    def write(session: Session) -> list[str | None]:
        run = _reader(session, "v1")
        record_job_event(session, "default", _event("v2"))
        return _newer(session, run)

    assert database.transact(write) == ["v2", None]


@pytest.mark.parametrize("told_late", [False, True])
def test_a_version_that_was_written_before_is_no_newer_one(database: Database, told_late: bool) -> None:
    def write(session: Session) -> list[str | None]:
        if not told_late:
            record_job_event(session, "default", _event("v0", days=-1))
        run = _reader(session, "v1")
        if told_late:
            record_job_event(session, "default", _event("v0", days=-1))
        return _newer(session, run)

    assert database.transact(write) == [None, None]


def test_without_a_time_what_was_first_heard_of_later_is_newer(database: Database) -> None:
    def write(session: Session) -> list[list[str | None]]:
        # The last one finds the data as the first did: it was put back.
        readers = [_reader(session, version) for version in ("v1", "v2", "v1")]
        return [_newer(session, run) for run in readers]

    assert database.transact(write) == [["v2", None], [None, None], [None, None]]


def test_a_version_of_another_kind_tells_nothing(database: Database) -> None:
    def write(session: Session) -> list[str | None]:
        run = _reader(session, "v1")
        _reader(session, "7", "delta")
        return _newer(session, run)

    assert database.transact(write) == [None, None]


def test_the_bundle_of_the_asking_dag(database: Database) -> None:
    told = {"taskInstance": {"dag_bundle_name": "dags", "dag_bundle_version": "4f1c"}}
    event, plain = _event("v1", airflow=told), _event("v1", airflow={"dag": {}})

    def write(session: Session) -> list[object]:
        record_job_event(session, "default", event)
        record_job_event(session, "default", plain)
        asked = (event.ol_run_id, plain.ol_run_id, uuid4())
        return [bundle_of(session, "default", run_id) for run_id in asked]

    assert database.transact(write) == [("dags", "4f1c"), None, None]
