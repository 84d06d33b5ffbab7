"""One statement says which DAG run, which data in which version and which parameters made a model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text

from bridge.domain.lineage import Artifact, DatasetWrite, JobRunEvent, Run, RunMirror
from bridge.domain.states import MirrorState
from bridge.lineage.database import Database
from bridge.lineage.datasets import record_job_event
from bridge.lineage.explain import EXPLAIN_SQL, explain_facts, explain_run
from bridge.lineage.mirror import store_mirror
from bridge.lineage.runs import add_found_run, change_run
from tests.support.lineage_samples import (
    ETL,
    T0,
    a_mirror,
    a_run,
    a_submission,
    a_task,
    end,
    partition,
    some_uuid,
    submit,
    use,
)

DOCS = Path(__file__).parents[3] / "docs" / "lineage-database.md"
MODEL = "file:///artifacts/1/train/model"


@pytest.fixture
def trained(database: Database) -> Run:
    """A run that trained on two partitions, one of them written by a task OpenLineage told of."""
    written = partition(5).uri
    event = JobRunEvent(
        namespace="airflow",
        job="flights_etl.write",
        ol_run_id=some_uuid(1),
        event_type="COMPLETE",
        event_time=T0,
        origin=ETL,
        datasets=(DatasetWrite(uri=written, version="v5", rows=842),),
    )
    inputs = (partition(5, version="v5", version_kind="sha256"), partition(6))

    def store(session):  # type: ignore[no-untyped-def]
        record_job_event(session, "default", event)
        run = submit(session, a_submission(inputs=inputs))
        store_mirror(session, run.run_id, a_mirror(data_uri=written))
        submit(session)
        return change_run(session, run.run_id, **end(run), mirror=MirrorState.COMPLETE)

    return database.transact(store)


def test_the_statement_answers_for_a_run_and_for_a_model(database: Database, trained: Run) -> None:
    by_run = database.read(lambda session: explain_facts(session, run_id=trained.run_id))
    by_model = database.read(
        lambda session: explain_facts(session, model_uri="file://localhost/artifacts/1/train/model/")
    )
    assert by_model == by_run
    run, parameters, *others = by_run
    assert {fact.run_id for fact in by_run} == {str(trained.run_id)}
    assert (run.name, run.value, run.version) == ("flight-delay", "SUCCEEDED", "d" * 64)
    assert (run.dag_id, run.dag_run_id, run.task_id) == (
        "delay_model_retraining",
        "scheduled__2013-01-06",
        "train",
    )
    assert json.loads(parameters.value or "") == {"target": "arrival", "epochs": 3}
    data = [(fact.name, fact.value, fact.version, fact.dag_run_id) for fact in others if fact.fact == "data"]
    assert data == [
        ("flights", partition(5).uri, "v5", "scheduled__2013-01-05"),
        ("flights", partition(6).uri, None, None),
    ]
    models = [(fact.name, fact.value, fact.version) for fact in others if fact.fact == "model"]
    assert models == [("train.model", MODEL, "b" * 64)]
    metrics = {fact.name: float(fact.value or "nan") for fact in others if fact.fact == "metric"}
    assert metrics == {"evaluate.auc": 0.71, "evaluate.accuracy": 0.8}


def test_a_run_that_imports_a_model_did_not_make_it(database: Database, trained: Run) -> None:
    imported = Artifact(
        backend_artifact_id="99", type="system.Model", uri=MODEL, uses=(use("importer", "artifact"),)
    )
    mirror = RunMirror(tasks=(a_task("importer", kind="importer"),), artifacts=(imported,))

    def store(session):  # type: ignore[no-untyped-def]
        run = submit(session)
        store_mirror(session, run.run_id, mirror)
        return run

    run = database.transact(store)
    facts = database.read(lambda session: explain_facts(session, model_uri=MODEL))
    assert {fact.run_id for fact in facts} == {str(trained.run_id)}
    facts = database.read(lambda session: explain_facts(session, run_id=run.run_id))
    assert {fact.fact for fact in facts} == {"run", "parameters", "data"}
    explained = database.read(lambda session: explain_run(session, run.run_id))
    assert explained is not None
    assert explained.models == ()
    assert [item.uri for item in explained.inputs] == [MODEL]


def test_nothing_is_known_of_the_unknown(database: Database) -> None:
    assert database.read(lambda session: explain_facts(session, run_id=some_uuid(9))) == []
    assert database.read(lambda session: explain_facts(session, model_uri="file:///none")) == []
    assert database.read(lambda session: explain_facts(session, model_uri="no uri")) == []
    assert database.read(lambda session: explain_run(session, some_uuid(9))) is None


def test_explain_run_tells_the_same_as_objects_and_says_what_is_unknown(
    database: Database, trained: Run
) -> None:
    explained = database.read(lambda session: explain_run(session, trained.run_id))
    assert explained is not None
    assert explained.run == trained
    assert [(item.uri, item.version, item.rows) for item in explained.inputs] == [
        (partition(5).uri, "v5", 842),
        (partition(6).uri, None, None),
    ]
    assert [model.uri for model in explained.models] == [MODEL]
    assert len(explained.artifacts) == 2
    assert {metric.key for metric in explained.metrics} == {"evaluate.auc", "evaluate.accuracy"}
    assert explained.unknown == (f"the version of {partition(6).uri}", f"who wrote {partition(6).uri}")


def test_a_run_found_on_the_backend_says_so(database: Database) -> None:
    found = database.transact(lambda session: add_found_run(session, a_run(mirror=MirrorState.EXPIRED)))
    explained = database.read(lambda session: explain_run(session, found.run_id))
    assert explained is not None
    assert [line.split(":")[0] for line in explained.unknown] == [
        "who asked for the run",
        "the data",
        "artifacts and metrics the backend had deleted before they were read",
    ]


def documented() -> list[str]:
    """The SQL of the documentation, block by block."""
    return re.findall(r"```sql\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)


def test_the_documentation_shows_the_statement() -> None:
    assert documented()[0].strip().rstrip(";") == EXPLAIN_SQL


@pytest.mark.parametrize("number", range(len(documented())))
def test_the_documentations_sql_runs_as_it_is_written(database: Database, trained: Run, number: int) -> None:
    statement = documented()[number].strip().rstrip(";")
    values = {":run_id": f"'{trained.run_id}'", ":model_uri": f"'{MODEL}'"}
    for name, value in values.items():
        statement = statement.replace(name, value)
    rows = database.read(lambda session: session.execute(text(statement.replace(":", "\\:"))).all())
    assert rows, statement


def test_the_views_hold_what_the_tables_do(database: Database, trained: Run) -> None:
    def view(name: str):  # type: ignore[no-untyped-def]
        statement = text(f"SELECT * FROM {name}")
        return database.read(lambda session: session.execute(statement).mappings().all())

    runs = {UUID(str(row["run_id"])): row for row in view("kfbridge_runs")}
    assert len(runs) == 2
    row = runs[trained.run_id]
    assert (row["state"], bool(row["good"]), row["dag_id"]) == ("SUCCEEDED", True, "delay_model_retraining")
    assert float(row["seconds"]) == pytest.approx(60.0)
    metrics = {row["metric"]: row["value"] for row in view("kfbridge_metrics")}
    assert metrics == {"evaluate.auc": 0.71, "evaluate.accuracy": 0.8}
    models = view("kfbridge_models")
    assert sorted((row["model_uri"], row["data_uri"], row["data_version"] or "") for row in models) == [
        (MODEL, partition(5).uri, "v5"),
        (MODEL, partition(6).uri, ""),
    ]
