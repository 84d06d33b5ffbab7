"""The Airflow task that asked for a run and the one that OpenLineage tells of are one row, in any order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import func, select
from sqlmodel import Session

from bridge.domain.identity import LineageParent, Origin
from bridge.domain.lineage import JobRunEvent, Run
from bridge.lineage.database import Database
from bridge.lineage.datasets import record_job_event
from bridge.lineage.explain import explain_run
from bridge.lineage.jobs import ancestors
from bridge.lineage.runs import get_run
from bridge.lineage.tables import JOB_RUNS, JOBS, RUNS
from tests.support.lineage_samples import RETRAINING, T0, a_submission, some_uuid, submit

TASK, DAG_RUN, ROOT = some_uuid(71), some_uuid(72), some_uuid(73)
PARENT = LineageParent(
    run_id=TASK,
    namespace="prod/emea",
    job="delay_model_retraining.train",
    root_run_id=DAG_RUN,
    root_namespace="prod/emea",
    root_job="delay_model_retraining",
)
ASKED = replace(RETRAINING, lineage=PARENT)


def task_event(kind: str, minute: int) -> JobRunEvent:
    return JobRunEvent(
        namespace="prod/emea",
        job=PARENT.job,
        ol_run_id=TASK,
        event_type=kind,
        event_time=T0 + timedelta(minutes=minute),
        job_type="TASK",
        parent_ol_run_id=DAG_RUN,
        origin=replace(RETRAINING, asset_events=()),
        facets={"run": {"airflow": {"dag": {}}}},
    )


def dag_event(kind: str, minute: int, run_id: UUID = DAG_RUN, **changed: object) -> JobRunEvent:
    origin = Origin(
        scheduler="airflow", dag_id=RETRAINING.dag_id, dag_run_id=RETRAINING.dag_run_id, logical_date=T0
    )
    values = {"job": PARENT.root_job, "ol_run_id": run_id, "job_type": "DAG", "parent_ol_run_id": None}
    event = replace(task_event(kind, minute), origin=origin)
    return replace(event, **{**values, **changed})  # type: ignore[arg-type]


def ask(session: Session) -> Run:
    return submit(session, a_submission(origin=ASKED))


@pytest.mark.parametrize("asked_first", [True, False])
def test_the_run_and_the_events_meet_in_one_row(database: Database, asked_first: bool) -> None:
    events = [
        task_event("START", 0),
        task_event("COMPLETE", 3),
        dag_event("START", 0),
        dag_event("COMPLETE", 4),
    ]

    def tell(session: Session) -> None:
        for event in events:
            record_job_event(session, "default", event)

    if not asked_first:
        database.transact(tell)
    run = database.transact(ask)
    if asked_first:
        database.transact(tell)

    def read(session: Session) -> tuple[list[str], int]:
        edge = (RUNS.c.project == JOB_RUNS.c.project) & (RUNS.c.parent_ol_run_id == JOB_RUNS.c.ol_run_id)
        names = (
            select(JOBS.c.name).select_from(RUNS).join(JOB_RUNS, edge).join(JOBS, JOBS.c.id == JOB_RUNS.c.job)
        )
        return list(session.scalars(names)), session.scalar(select(func.count()).select_from(JOB_RUNS)) or 0

    assert database.read(read) == ([PARENT.job], 2)
    explained = database.read(lambda s: explain_run(s, run.run_id))
    assert explained is not None
    task, dag_run = explained.ancestors
    assert (task.run_id, task.namespace, task.job, task.state) == (TASK, "prod/emea", PARENT.job, "COMPLETE")
    assert (task.dag_run_id, task.task_id, task.try_number) == (RETRAINING.dag_run_id, "train", 1)
    assert (dag_run.run_id, dag_run.task_id, dag_run.state) == (DAG_RUN, None, "COMPLETE")
    assert explained.run.origin == ASKED


def test_without_any_event_the_task_and_its_dagrun_are_known(database: Database) -> None:
    run = database.transact(ask)
    task, dag_run = database.read(lambda s: ancestors(s, "default", TASK))
    assert (task.state, dag_run.state) == (None, None)
    assert (task.job, dag_run.job) == (PARENT.job, PARENT.root_job)
    stored = database.read(lambda s: get_run(s, run.run_id))
    assert stored is not None
    assert stored.origin.lineage == PARENT


def test_a_root_beyond_the_dagrun_is_reached_by_what_the_events_tell(database: Database) -> None:
    far = replace(PARENT, root_run_id=ROOT, root_namespace="elsewhere", root_job="nightly")
    database.transact(lambda s: submit(s, a_submission(origin=replace(RETRAINING, lineage=far))))
    assert [one.run_id for one in database.read(lambda s: ancestors(s, "default", TASK))] == [TASK]

    def tell(session: Session) -> None:
        record_job_event(session, "default", task_event("START", 0))
        record_job_event(session, "default", dag_event("START", 0, parent_ol_run_id=ROOT))
        record_job_event(session, "default", dag_event("START", 0, ROOT, origin=None, job="nightly"))

    database.transact(tell)
    assert [one.run_id for one in database.read(lambda s: ancestors(s, "default", TASK))] == [
        TASK,
        DAG_RUN,
        ROOT,
    ]


def test_parents_in_a_circle_are_each_told_once(database: Database) -> None:
    def tell(session: Session) -> None:
        record_job_event(session, "default", task_event("START", 0))
        record_job_event(session, "default", dag_event("START", 0, parent_ol_run_id=TASK))

    database.transact(tell)
    assert len(database.read(lambda s: ancestors(s, "default", TASK))) == 2
