"""From the ETL's asset events to the pipeline's inputs, in real DagRuns."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.provider.conftest import Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import FakeBridge

pytestmark = pytest.mark.airflow

RunDag = Callable[..., Ran]

ETL = """
from airflow.sdk import DAG, Asset, get_current_context, task
from bridge.provider.datasets import publish_dataset

FLIGHTS = Asset(uri="file://{root}/flights")

@task(outlets=[FLIGHTS])
def load():
    return publish_dataset(
        get_current_context(), FLIGHTS,
        partitions=[("file://{root}/flights/day=1/a.parquet", None, 10, None),
                    ("file://{root}/flights/day=2/a.parquet", "v2", 20, 200)],
    )

with DAG("flights_etl") as dag:
    load()
"""

TRAINING = """
from airflow.sdk import DAG, Asset, task
from bridge.provider.operators import KubeflowPipelineOperator

with DAG("training") as dag:
    {before}
    KubeflowPipelineOperator(
        task_id="train", pipeline="pipelines/training.yaml", arguments={{"epochs": 1}},
        inputs={{"flights": {flights}}},
    )
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for day in (1, 2):
        partition = tmp_path / "flights" / f"day={day}" / "a.parquet"
        partition.parent.mkdir(parents=True)
        partition.write_bytes(b"x" * day)
    return tmp_path


def test_what_the_etl_published_is_what_the_pipeline_reads(
    fake: FakeBridge, run_dag: RunDag, data: Path
) -> None:
    etl = run_dag(ETL.format(root=data))
    assert etl.state == "success"
    (extra,) = etl.asset_events(f"file://{data}/flights")
    digest = hashlib.sha256(b"x").hexdigest()
    first = {
        "uri": f"file://{data}/flights/day=1/a.parquet",
        "version": digest,
        "version_kind": "sha256",
        "rows": 10,
        "bytes": 1,
    }
    assert extra["partitions"][0] == first
    assert extra["rows"] == 30
    assert etl.xcom("load") == extra

    asset = f'Asset(uri="file://{data}/flights")'
    assert run_dag(TRAINING.format(before="", flights=asset)).state == "success"
    (stored,) = fake.runs.values()
    inputs = stored.request.inputs
    assert [item.uri for item in inputs] == [p["uri"] for p in extra["partitions"]]
    assert [item.version for item in inputs] == [digest, "v2"]
    assert {item.name for item in inputs} == {"flights"}
    producer = inputs[0].producer
    assert producer is not None
    assert (producer.dag_id, producer.dag_run_id, producer.task_id, producer.try_number) == (
        "flights_etl",
        etl.dag_run.run_id,
        "load",
        1,
    )
    assert stored.request.arguments == {"epochs": 1}


def test_the_bridge_is_told_by_openlineage(fake: FakeBridge, run_dag: RunDag, data: Path) -> None:
    etl = run_dag(ETL.format(root=data))
    (event,) = fake.lineage
    assert event["eventType"] == "RUNNING"
    assert event["job"]["name"] == "flights_etl.load"
    origin = event["run"]["facets"]["kfbridge_origin"]
    assert (origin["dag_id"], origin["dag_run_id"], origin["task_id"], origin["try_number"]) == (
        "flights_etl",
        etl.dag_run.run_id,
        "load",
        1,
    )
    first, second = event["outputs"]
    assert (first["namespace"], first["name"]) == ("file", f"{data}/flights/day=1/a.parquet")
    assert first["facets"]["version"]["datasetVersion"] == hashlib.sha256(b"x").hexdigest()
    assert second["facets"]["version"]["datasetVersion"] == "v2"
    assert second["outputFacets"]["outputStatistics"]["rowCount"] == 20
    assert second["outputFacets"]["outputStatistics"]["size"] == 200


@needs(3, 3, "events in dag.test() of assets that no other DAG names")
def test_a_bridge_that_is_away_fails_no_etl(
    fake: FakeBridge,
    run_dag: RunDag,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("bridge.provider.datasets._PATIENCE_SECONDS", 0.0)
    fake.outages = 1000
    etl = run_dag(ETL.format(root=data))
    assert etl.state == "success"
    (extra,) = etl.asset_events(f"file://{data}/flights")
    assert len(extra["partitions"]) == 2
    assert "The bridge was not told what this task wrote" in caplog.text


@needs(3, 3, "events in dag.test() of assets that no other DAG names")
def test_an_airflow_without_a_connection_fails_no_etl(
    run_dag: RunDag, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    etl = run_dag(ETL.format(root=data))
    assert etl.state == "success"
    assert len(etl.asset_events(f"file://{data}/flights")[0]["partitions"]) == 2
    assert "kfbridge_default" in caplog.text


def test_inputs_from_an_xcom_and_a_list(fake: FakeBridge, run_dag: RunDag, data: Path) -> None:
    before = f"""
    @task
    def choose():
        return [{{"uri": "s3://lake/flights/day=1", "version": "7", "version_kind": "s3-version"}},
                "file://{data}/flights/day=2/a.parquet"]
"""
    ran = run_dag(TRAINING.format(before=before.strip(), flights="choose()"))
    assert ran.state == "success"
    (stored,) = fake.runs.values()
    first, second = stored.request.inputs
    assert (first.uri, first.version, first.version_kind) == ("s3://lake/flights/day=1", "7", "s3-version")
    assert (second.version, second.version_kind) == (hashlib.sha256(b"xx").hexdigest(), "sha256")


def test_an_asset_without_events_is_measured_itself(fake: FakeBridge, run_dag: RunDag, data: Path) -> None:
    asset = f'Asset(uri="file://{data}/flights")'
    assert run_dag(TRAINING.format(before="", flights=asset)).state == "success"
    (stored,) = fake.runs.values()
    (only,) = stored.request.inputs
    assert only.uri == f"file://{data}/flights"
    assert only.version_kind == "manifest-sha256"
    assert only.producer is None


def test_the_operator_reads_its_assets_for_airflow_too(
    parse_dag: Callable[[str], object], data: Path
) -> None:
    dag = parse_dag(TRAINING.format(before="", flights=f'[Asset(uri="file://{data}/f"), "s3://b/k"]'))
    (task,) = dag.tasks  # type: ignore[attr-defined]
    assert [inlet.uri for inlet in task.inlets] == [f"file://{data}/f"]


def test_no_such_input_is_refused_before_anything_is_sent(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    source = """
from airflow.sdk import DAG, task
from bridge.provider.operators import KubeflowPipelineOperator

@task
def choose():
    return 7

with DAG("training") as dag:
    KubeflowPipelineOperator(
        task_id="train", pipeline="pipelines/training.yaml", arguments={"epochs": 1},
        inputs={"flights": choose()},
    )
"""
    assert run_dag(source).state == "failed"
    assert fake.runs == {}
    assert "input flights: int names no data" in capfd.readouterr().out
