"""``@task.kubeflow_pipeline`` in real DagRuns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.fake_bridge import End, FakeBridge, a_task

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(120, method="thread"),
    pytest.mark.filterwarnings(IGNORED),
]

RunDag = Callable[..., Ran]


def decorated(function: str, options: str = "", call: str = "train(3, note='{{ ti.task_id }}')") -> str:
    return f"""
from airflow.sdk import DAG, task

with DAG("training") as dag:
    @task.kubeflow_pipeline(pipeline="pipelines/training.yaml", {options})
{function}
    {call}
"""


GIVEN = """
    def train(epochs, *, note, ti=None) -> dict:
        return {"epochs": epochs, "note": f"{note} {ti.try_number} {{{{ no template }}}}"}
"""


@pytest.mark.parametrize("deferrable", [True, False])
def test_the_function_returns_the_arguments(fake: FakeBridge, run_dag: RunDag, deferrable: bool) -> None:
    fake.next_end = End(tasks=(a_task("", outputs={"accuracy": 0.9}),))
    ran = run_dag(decorated(GIVEN, f"deferrable={deferrable}, labels={{'day': '{{{{ ds }}}}'}}"))
    assert ran.state == "success"
    (stored,) = fake.runs.values()
    assert stored.request.arguments == {"epochs": 3, "note": "train 1 {{ no template }}"}
    assert stored.request.labels["day"].startswith("20")
    assert ran.xcom("train")["outputs"] == {"accuracy": 0.9}
    assert ran.xcom("train", "state") is None


def test_what_does_not_fit_the_pipeline_is_never_sent(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = run_dag(decorated("    def train(epochs, note):\n        return {'epoch': epochs}"))
    assert ran.state == "failed"
    assert fake.runs == {}
    assert "/arguments/epoch" in capfd.readouterr().out


def test_a_function_that_returns_no_mapping_fails_the_task(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    ran = run_dag(decorated("    def train(epochs, note):\n        return epochs"))
    assert ran.state == "failed"
    assert "arguments has to be a mapping" in capfd.readouterr().out


def test_a_bridge_that_is_away_is_waited_for_without_a_slot(
    fake: FakeBridge, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.provider.operators._SLOT_SECONDS", 0.0)
    fake.outages = 1
    ran = run_dag(decorated(GIVEN))
    assert ran.state == "success"
    (stored,) = fake.runs.values()
    assert stored.request.arguments["epochs"] == 3


def test_arguments_beside_the_function_are_refused(parse_dag: Callable[[str], object]) -> None:
    with pytest.raises(TypeError, match="the function returns them"):
        parse_dag(decorated(GIVEN, "arguments={'epochs': 1}"))


def test_the_example(fake: FakeBridge, run_example: RunDag) -> None:
    ran = run_example("taskflow_pipelines.py", "hello_taskflow", run_conf={"names": ["sun", "moon", "stars"]})
    assert ran.state == "success"
    sent = {stored.request.origin.map_index: stored.request for stored in fake.runs.values()}
    assert [sent[index].arguments["name"] for index in range(3)] == ["Sun", "Moon", "Stars"]
    assert sent[1].display_name == "hello 1"
    assert ran.xcom("states") == ["SUCCEEDED"] * 3
