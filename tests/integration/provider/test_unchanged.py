"""``skip_if_unchanged`` in real DagRuns: the last good run's references, and no news where there is none."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from bridge.client.models import ArtifactModel, ArtifactUseModel
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import End, FakeBridge

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(120, method="thread"),
    pytest.mark.filterwarnings(IGNORED),
]

RunDag = Callable[..., Ran]
MODEL_URI = "s3://models/flight-delay/7"


def a_model() -> ArtifactModel:
    use = ArtifactUseModel(run_id=uuid4(), task_path="train", key="model", direction="OUTPUT")
    return ArtifactModel(artifact_id=uuid4(), type="system.Model", uri=MODEL_URI, uses=[use])


@needs(3, 3, "events in dag.test() of assets that no other DAG names")
def test_the_last_good_runs_references_and_no_new_model(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.next_end = End(artifacts=(a_model(),))
    source = """
from airflow.sdk import DAG, Asset, AssetAlias
from bridge.provider.operators import KubeflowPipelineOperator

with DAG("training") as dag:
    KubeflowPipelineOperator(
        task_id="train", pipeline="pipelines/training.yaml", arguments={"epochs": 1}, skip_if_unchanged=True,
        outlets=[Asset("model", uri="s3://models/flight-delay"), AssetAlias("models")],
    )
"""
    first, second = run_dag(source), run_dag(source)
    assert first.state == second.state == "success"
    assert first.xcom("train") == second.xcom("train")
    assert len(fake.runs) == 1
    assert "The bridge warns: nothing changed" in capfd.readouterr().out
    told = [ran.asset_events("s3://models/flight-delay") for ran in (first, second)]
    assert [[event["unchanged"] for event in events] for events in told] == [[False], [True]]
    assert len(first.asset_events(MODEL_URI)) == 1
    assert second.asset_events(MODEL_URI) == []


def test_the_example(fake: FakeBridge, run_example: RunDag) -> None:
    run_ids = []
    for conf in ({"name": "moon"}, {"name": "moon"}, {"name": "sun"}, {"name": "sun", "force": True}):
        ran = run_example("unchanged_pipeline.py", "hello_if_changed", run_conf=conf)
        assert ran.state == "success"
        run_ids.append(ran.xcom("hello")["run_id"])
    assert run_ids[0] == run_ids[1]
    assert len(set(run_ids)) == len(fake.runs) == 3
