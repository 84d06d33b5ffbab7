"""The sensor in real DagRuns: which run it waits for, and what its end means."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from bridge.client.models import (
    ErrorModel,
    GateModel,
    MetricModel,
    OriginModel,
    PipelineVersionModel,
    RunModel,
    SubmitRequest,
)
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(120, method="thread"),
    pytest.mark.filterwarnings(IGNORED),
]

RunDag = Callable[..., Ran]
PASSED = GateModel(expression="evaluate.auc > 0", passed=True, reason="0.7 is more than 0")
FAILED = GateModel(expression="evaluate.auc > 1", passed=False, reason="0.7 is not more than 1")


def submitted(
    fake: FakeBridge, end: End | None, *, pipeline: str = "flight-delay", dag_run: str = "r1"
) -> RunModel:
    """A run that somebody has asked for, which ends as told when somebody waits for it."""
    fake.next_end = end
    request = SubmitRequest(
        pipeline=PipelineVersionModel(name=pipeline),
        project="flights",
        origin=OriginModel(dag_id="retraining", dag_run_id=dag_run, task_id="retrain"),
    )
    _, answer = fake._submit(request)
    return RunModel.model_validate(answer)


def sensor(options: str) -> str:
    return f"""
from datetime import timedelta
from airflow.sdk import DAG
from bridge.provider.sensors import KubeflowPipelineSensor

with DAG("waiting", params={{"run": None}}) as dag:
    KubeflowPipelineSensor(task_id="wait", poke_interval=0.05, {options})
"""


@pytest.mark.parametrize(
    "how", ["deferrable=True", "deferrable=False", "deferrable=False, mode='reschedule'"]
)
def test_a_run_by_its_id(fake: FakeBridge, run_dag: RunDag, how: str) -> None:
    end = End(
        tasks=(a_task("", outputs={"n": 1}),),
        metrics=(MetricModel(key="e.auc", task_path="e", name="auc", value=0.7),),
    )
    run = submitted(fake, end)
    ran = run_dag(sensor(f"run_id='{{{{ params.run }}}}', {how}"), run_conf={"run": str(run.run_id)})
    assert ran.state == "success"
    reference = ran.xcom("wait")
    assert (reference["run_id"], reference["state"]) == (str(run.run_id), "SUCCEEDED")
    assert (reference["outputs"], reference["metrics"]) == ({"n": 1}, {"e.auc": 0.7})
    assert ran.xcom("wait", "run_id") == str(run.run_id)
    assert fake.cancels == []


def test_the_newest_run_that_has_everything_that_is_named(fake: FakeBridge, run_dag: RunDag) -> None:
    submitted(fake, End(), dag_run="r0")
    wanted = submitted(fake, End())
    submitted(fake, End(), dag_run="r2")
    submitted(fake, End(), pipeline="another")
    names = "external_dag_id='retraining', external_dag_run_id='{{ \"r1\" }}', external_task_id='retrain'"
    ran = run_dag(sensor(f"pipeline='flight-delay', {names}, external_map_index=-1"))
    assert ran.xcom("wait")["run_id"] == str(wanted.run_id)


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_run_that_is_not_there_yet_is_looked_for(
    fake: FakeBridge, run_dag: RunDag, deferrable: bool
) -> None:
    looks: list[Seen] = []

    def arrive(seen: Seen) -> None:
        if seen.path == "/api/v1/runs":
            looks.append(seen)
            if len(looks) == 3:
                submitted(fake, End())

    fake.on_request = arrive
    ran = run_dag(sensor(f"pipeline='flight-delay', deferrable={deferrable}"))
    assert ran.state == "success"
    assert looks[0].query == {"pipeline": "flight-delay", "project": "flights", "limit": "1"}


def test_an_older_run_does_not_count_after_a_moment(fake: FakeBridge, run_dag: RunDag) -> None:
    submitted(fake, End())
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    ran = run_dag(sensor(f"pipeline='flight-delay', created_after='{later}', timeout=0.3"))
    assert ran.state == "failed"


def test_a_newer_run_takes_the_place_of_the_one_that_ended(fake: FakeBridge, run_dag: RunDag) -> None:
    submitted(fake, End(state="FAILED"))

    def overtake(seen: Seen) -> None:
        if "wait" in seen.query and len(fake.runs) == 1:
            submitted(fake, End(), dag_run="r2")

    fake.on_request = overtake
    ran = run_dag(sensor("pipeline='flight-delay'"))
    assert ran.state == "success"
    assert ran.xcom("wait")["run_id"] == list(fake.runs)[1]


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize(
    ("end", "expect", "state"),
    [
        (End(state="FAILED", error=ErrorModel(message="no rows")), "succeeded", "failed"),
        (End(state="FAILED", error=ErrorModel(message="no rows")), "over", "success"),
        (End(gate=FAILED), "succeeded", "success"),
        (End(gate=FAILED), "good", "failed"),
        (End(gate=PASSED), "good", "success"),
    ],
)
def test_what_is_expected_of_the_run(
    fake: FakeBridge, run_dag: RunDag, end: End, expect: str, state: str, deferrable: bool
) -> None:
    run = submitted(fake, end)
    ran = run_dag(sensor(f"run_id='{run.run_id}', expect='{expect}', deferrable={deferrable}"))
    assert ran.state == state


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_soft_sensor_skips(fake: FakeBridge, run_dag: RunDag, deferrable: bool) -> None:
    run = submitted(fake, End(state="CANCELED"))
    ran = run_dag(sensor(f"run_id='{run.run_id}', soft_fail=True, deferrable={deferrable}"))
    assert ran.task("wait").state == "skipped"


@pytest.mark.parametrize("deferrable", [True, False])
def test_time_that_is_up_fails_the_sensor_and_cancels_nothing(
    fake: FakeBridge, run_dag: RunDag, deferrable: bool
) -> None:
    run = submitted(fake, None)
    ran = run_dag(sensor(f"run_id='{run.run_id}', timeout=0.3, retries=2, deferrable={deferrable}"))
    assert ran.task("wait").state == "failed"
    assert ran.task("wait").try_number == 1
    assert fake.cancels == []
    assert not fake.runs[str(run.run_id)].run.over


def test_a_bridge_that_is_away_is_waited_for(fake: FakeBridge, run_dag: RunDag) -> None:
    submitted(fake, End())
    fake.outages = 2
    assert run_dag(sensor("pipeline='flight-delay'")).state == "success"


def test_a_run_that_the_bridge_does_not_know_fails_the_sensor(fake: FakeBridge, run_dag: RunDag) -> None:
    ran = run_dag(sensor("run_id='00000000-0000-0000-0000-000000000000'"))
    assert ran.task("wait").state == "failed"


@pytest.mark.parametrize("options", ["", "run_id='x', expect='better'"])
def test_a_sensor_that_cannot_know_its_run_is_no_dag(
    parse_dag: Callable[[str], object], options: str
) -> None:
    with pytest.raises(ValueError, match="sensor 'wait'"):
        parse_dag(sensor(options))


def test_the_example(fake: FakeBridge, run_example: RunDag) -> None:
    auc = MetricModel(key="evaluate.auc", task_path="evaluate", name="auc", value=0.71)
    submitted(fake, End(gate=PASSED, metrics=(auc,)))
    ran = run_example("model_report.py", "model_report")
    assert ran.state == "success"
    assert ran.xcom("report") == {"evaluate.auc": 0.71}
