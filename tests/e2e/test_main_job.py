"""The main job through a real Airflow: ETL on real data, hand-over, following, mirroring, references back."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from bridge.client.sync import BridgeClient
from bridge.lineage.database import Database
from bridge.lineage.explain import Fact, explain_facts
from deploy.laptop.demo import ETL, RETRAINING, DemoResult, play
from deploy.laptop.stack import Stack
from tests.support.postgres import running_postgres

pytestmark = [pytest.mark.airflow, pytest.mark.postgres, pytest.mark.timeout(420)]

XCOM_BYTES = 32 * 1024
FAILING = "failing_example"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole laptop on free ports, with the lineage database in a real PostgreSQL."""
    home = tmp_path_factory.mktemp("main-job")
    with running_postgres() as server:
        url = server.url(server.create_database())
        with Stack(home, database_url=url) as stack:
            yield stack


@pytest.fixture(scope="module")
def played(stack: Stack) -> DemoResult:
    """The demo's story, played once for all tests of this module."""
    return play(stack, print)


@pytest.fixture(scope="module")
def database(stack: Stack) -> Iterator[Database]:
    """The lineage database as somebody with a database shell sees it."""
    database = Database(stack.database_url)
    yield database
    database.close()


@pytest.fixture(scope="module")
def reference(stack: Stack, played: DemoResult) -> dict[str, Any]:
    """The XCom of the last retraining's bridge task."""
    answer = stack.airflow.xcom(RETRAINING, played.dag_runs[-1]["dag_run_id"], "retrain")
    return dict(answer if isinstance(answer, dict) else json.loads(answer))


def test_two_retrainings_succeed_one_asked_for_and_one_by_new_data(played: DemoResult) -> None:
    assert played.days == [date(2013, 1, day) for day in range(1, 6)]
    assert [run["state"] for run in played.dag_runs] == ["success", "success"]
    assert [run["run_type"] for run in played.dag_runs] == ["manual", "asset_triggered"]
    assert [run.state for run in played.runs] == ["SUCCEEDED", "SUCCEEDED"]
    assert len(played.auc) == 2
    assert all(0.5 < value <= 1.0 for value in played.auc.values()), played.auc


def test_the_xcom_is_small_and_names_the_model_by_uri(reference: dict[str, Any], played: DemoResult) -> None:
    assert len(json.dumps(reference).encode()) <= XCOM_BYTES
    assert reference["run_id"] == str(played.runs[-1].run_id)
    assert reference["state"] == "SUCCEEDED"
    model = reference["artifacts"]["train.model"]
    assert model["type"] == "system.Model"
    assert model["uri"].startswith("file:///")
    assert model["ref"] == f"bridge://artifacts/{model['id']}"
    assert reference["metrics"]["evaluate.auc"] == played.auc[reference["run_id"]]


def test_the_gate_was_judged_against_the_last_good_model(played: DemoResult) -> None:
    first, second = played.runs
    assert first.gate is not None
    assert first.gate.passed is True
    assert "no good run" in first.gate.reason
    assert second.gate is not None
    assert second.gate.passed is not None
    assert second.gate.last_good_run == first.run_id


def test_one_query_says_what_made_the_model(
    database: Database, reference: dict[str, Any], played: DemoResult
) -> None:
    uri = reference["artifacts"]["train.model"]["uri"]
    facts = database.read(lambda session: explain_facts(session, model_uri=uri))
    dag_run_id = played.dag_runs[-1]["dag_run_id"]

    def of(kind: str) -> list[Fact]:
        return [fact for fact in facts if fact.fact == kind]

    assert [(fact.dag_id, fact.dag_run_id, fact.task_id) for fact in of("run")] == [
        (RETRAINING, dag_run_id, "retrain")
    ]
    data = of("data")
    assert [fact.value.rpartition("/year=")[2] for fact in data if fact.value] == [
        f"2013/month=01/day={day.day:02d}/flights.parquet" for day in played.days
    ]
    assert all(fact.version and len(fact.version) == 64 for fact in data)
    assert {(fact.dag_id, fact.task_id) for fact in data} == {(ETL, "load_day")}
    assert len({fact.dag_run_id for fact in data}) == len(played.days)
    [parameters] = of("parameters")
    assert json.loads(parameters.value or "")["target"] == "arrival"


def test_what_the_etl_wrote_and_the_pipeline_read_is_one_row(database: Database, played: DemoResult) -> None:
    query = text(
        """
        SELECT d.uri,
               COUNT(DISTINCT d.id) AS datasets,
               COUNT(DISTINCT v.id) AS versions,
               COUNT(DISTINCT written.job_run) AS writers,
               COUNT(DISTINCT reading.run) AS readers,
               COUNT(DISTINCT a.id) AS imported
        FROM datasets AS d
        JOIN dataset_versions AS v ON v.dataset = d.id
        JOIN dataset_uses AS written ON written.version = v.id AND written.direction = 'OUTPUT'
        JOIN dataset_uses AS reading ON reading.version = v.id AND reading.direction = 'INPUT'
        JOIN artifacts AS a ON a.dataset = d.id
        WHERE d.uri LIKE '%flights.parquet'
        GROUP BY d.uri ORDER BY d.uri
        """
    )
    rows = database.read(lambda session: list(session.execute(query).mappings()))
    assert len(rows) == len(played.days)
    for row in rows:
        assert (row["datasets"], row["versions"], row["writers"]) == (1, 1, 1), dict(row)
        assert row["readers"] >= 1, dict(row)
        assert row["imported"] >= 1, dict(row)


def test_explain_prints_the_same(stack: Stack, played: DemoResult) -> None:
    run = played.runs[-1]
    command = [sys.executable, "-m", "bridge.cli", "explain", str(run.run_id), "--url", stack.bridge_url]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    flat = "".join(told.split())
    assert played.dag_runs[-1]["dag_run_id"] in flat
    for day in played.days:
        assert f"day={day.day:02d}/flights.parquet" in flat
    assert played.explained is not None
    for item in played.explained.inputs:
        assert (item.version or "?")[:12] in flat
    for model in played.explained.models:
        assert (model.uri or "?") in flat


def test_a_failing_component_is_named_with_its_last_lines(stack: Stack, database: Database) -> None:
    stack.airflow.wait_dag(FAILING)
    stack.airflow.unpause(FAILING)
    dag_run_id = stack.airflow.trigger(FAILING, conf={"message": "the fuse was wet"})
    assert stack.airflow.wait_dag_run(FAILING, dag_run_id, seconds=120) == "failed"

    log = stack.airflow.task_log(FAILING, dag_run_id, "fail")
    assert "explode" in log
    assert "ValueError: the fuse was wet" in log

    with BridgeClient(stack.bridge_url) as client:
        [run] = client.list_runs(dag_id=FAILING, dag_run_id=dag_run_id).items
    assert run.state == "FAILED"
    assert run.error is not None
    assert run.error.task == "explode"
    assert any("the fuse was wet" in line for line in run.error.log_tail)

    query = text(
        "SELECT t.error FROM tasks AS t JOIN runs AS r ON r.id = t.run "
        "WHERE r.run_id = :run AND t.path = :path"
    )
    rows = database.read(
        lambda session: list(session.execute(query, {"run": run.run_id, "path": "explode"}).scalars())
    )
    assert len(rows) == 1
    assert "the fuse was wet" in json.dumps(rows[0])
