"""The main job with data and artifacts on an S3 server: the same DAGs and pipelines, other settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bridge.client.refs import ArtifactRef
from deploy.laptop.demo import RETRAINING, DemoResult, play
from deploy.laptop.stack import Stack
from tests.support.s3 import S3Server, running_s3

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(420)]

ARTIFACTS = "s3://mlpipeline/artifacts"


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    with running_s3() as server:
        server.bucket("lake")
        server.bucket("mlpipeline")
        yield server


@pytest.fixture(scope="module")
def stack(s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole laptop, told of the server by its settings: Airflow by a connection, the bridge by AWS'
    variables, the local backend by its own."""
    connection = {
        "conn_type": "aws",
        "login": s3.options["key"],
        "password": s3.options["secret"],
        "extra": {"endpoint_url": s3.url, "region_name": "us-east-1"},
    }
    with Stack(
        tmp_path_factory.mktemp("main-job-on-s3"),
        airflow_env={
            "KFBRIDGE_DATA_URI": "s3://lake",
            "KFBRIDGE_DATA_CONN_ID": "lake",
            "AIRFLOW_CONN_LAKE": json.dumps(connection),
        },
        service_env={"KFBRIDGE_CONTENT_STORES": "s3://mlpipeline,s3://lake/flights", **s3.environment},
        local_env={
            "KFBRIDGE_LOCAL_ARTIFACTS": ARTIFACTS,
            "KFBRIDGE_LOCAL_ARTIFACT_OPTIONS": json.dumps(s3.options),
        },
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def played(stack: Stack) -> DemoResult:
    """The demo's story with two days, played once for all tests of this module."""
    return play(stack, print, count=2)


@pytest.fixture(scope="module")
def production(s3: S3Server, played: DemoResult) -> dict[str, Any]:
    """What the DAG's last task wrote of the model that it promoted last."""
    return dict(json.loads(s3.content("s3://lake/models/flight-delay/production.json")))


@pytest.fixture(scope="module")
def reference(stack: Stack, played: DemoResult, production: dict[str, Any]) -> dict[str, Any]:
    """The XCom of the bridge task whose model that is."""
    [made_by] = [run for run in played.runs if str(run.run_id) == production["run_id"]]
    answer = stack.airflow.xcom(RETRAINING, str(made_by.origin.dag_run_id), "retrain")
    return dict(answer if isinstance(answer, dict) else json.loads(answer))


def test_both_retrainings_succeed_and_the_gate_is_judged(played: DemoResult) -> None:
    assert [run["state"] for run in played.dag_runs] == ["success", "success"]
    assert [run["run_type"] for run in played.dag_runs] == ["manual", "asset_triggered"]
    assert [run.state for run in played.runs] == ["SUCCEEDED", "SUCCEEDED"]
    assert len(played.auc) == 2
    first, second = played.runs
    assert first.gate is not None
    assert first.gate.passed is True
    assert second.gate is not None
    assert second.gate.last_good_run == first.run_id


def test_everything_lies_on_the_server_and_nothing_here(
    stack: Stack, s3: S3Server, played: DemoResult
) -> None:
    lake = {one.key for one in s3.bucket("lake").objects.all()}
    assert {f"flights/year=2013/month=01/day=0{day}/flights.parquet" for day in (1, 2)} <= lake
    kept = {one.key.split("/", 3)[3] for one in s3.bucket("mlpipeline").objects.all()}
    assert {"validate/flights", "features/table", "train/model", "register/registered"} <= kept
    assert not stack.data.exists()
    assert not (stack.home / "kfp" / "artifacts").exists()
    assert not list((stack.home / "kfp" / "runs").rglob("buckets"))


def test_the_xcom_names_the_model_by_its_uri_there(
    reference: dict[str, Any], production: dict[str, Any], s3: S3Server
) -> None:
    model = reference["artifacts"]["register.registered"]
    start = f"{ARTIFACTS}/flight-delay/{reference['kfp_run_id']}"
    assert model["uri"] == production["model_uri"] == f"{start}/register/registered"
    assert model["ref"] == f"bridge://artifacts/{model['id']}"
    # Airflow's task has read it through its connection.
    digest = hashlib.sha256(s3.content(model["uri"])).hexdigest()
    assert production["digest"] == f"sha256:{digest}"
    assert model["digest"].removeprefix("sha256:") == digest


def test_the_bridge_passes_the_model_on_whole_and_in_part(
    stack: Stack, s3: S3Server, reference: dict[str, Any]
) -> None:
    ref = ArtifactRef.from_xcom(reference, "register.registered")
    stored = s3.content(str(ref.uri))
    with stack.client() as client, ref.open(client=client, via="bridge") as content:
        assert content.read() == stored
    address = f"{stack.bridge_url}/api/v1/artifacts/{ref.artifact_id}/content"
    shown = httpx.get(address, params={"preview": 100}, timeout=30)
    assert shown.content == stored[:100]


def test_the_lineage_goes_back_to_the_objects_that_the_etl_wrote(played: DemoResult) -> None:
    assert played.explained is not None
    days = [f"s3://lake/flights/year=2013/month=01/day=0{day}/flights.parquet" for day in (1, 2)]
    assert sorted(str(item.uri) for item in played.explained.inputs) == days
    assert all(item.version and len(item.version) == 64 for item in played.explained.inputs)
    assert all(str(model.uri).startswith(ARTIFACTS) for model in played.explained.models)
