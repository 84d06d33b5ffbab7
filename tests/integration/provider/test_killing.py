"""Kills: Airflow's own answer about the task's state decides what happens to the run."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow.triggers.base import BaseTrigger

from bridge.client.models import OriginModel, SubmitRequest
from bridge.provider import triggers
from bridge.provider.origin import TaskKey
from bridge.provider.sensing import BridgeSensorTrigger
from bridge.provider.taskgroup_trigger import KubeflowTaskTrigger
from bridge.provider.triggers import BridgeRunTrigger
from tests.integration.provider.conftest import Ran
from tests.support.fake_bridge import End, FakeBridge, a_task

pytestmark = pytest.mark.airflow

RunDag = Callable[..., Ran]

# The second task stands for the triggerer: it asks Airflow through the same interface.
KILLED = """
from airflow.sdk import DAG, get_current_context, task
from bridge.provider.compat import AirflowFailException, AirflowSkipException
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.triggers import BridgeRunTrigger

@task
def waiting():
    {how}

@task(trigger_rule="all_done")
def kill(bridge_run):
    import asyncio
    ti = get_current_context()["ti"]
    trigger = BridgeRunTrigger(
        run_id=bridge_run, kfbridge_conn_id="kfbridge_default", submission_key=None, try_number=1,
        kill_policy={policy!r},
        task={{
            "dag_id": ti.dag_id, "dag_run_id": {dag_run}, "task_id": {task_id!r}, "map_index": {map_index}
        }},
    )
    asyncio.run(trigger.on_kill())

with DAG("killed") as dag:
    submit = KubeflowPipelineOperator(
        task_id="submit", pipeline="pipelines/training.yaml", arguments={{"epochs": 1}}, wait=False
    )
    {wiring}
"""
WIRING = "[waiting(), submit] >> kill(submit.output['run_id'])"


def kill_dag(
    how: str,
    *,
    policy: str = "cancel",
    dag_run: str = "ti.run_id",
    task_id: str = "waiting",
    map_index: int = -1,
    wiring: str = WIRING,
) -> str:
    return KILLED.format(
        how=how, policy=policy, dag_run=dag_run, task_id=task_id, map_index=map_index, wiring=wiring
    )


@pytest.mark.parametrize(
    ("how", "cancelled"),
    [
        ("raise AirflowFailException('marked')", True),
        ("raise AirflowSkipException('marked')", True),
        ("return 'success'", True),
    ],
)
def test_a_task_that_ended_for_good_takes_its_run_along(
    fake: FakeBridge, run_dag: RunDag, how: str, cancelled: bool
) -> None:
    fake.next_end = None
    run_dag(kill_dag(how))
    assert bool(fake.cancels) is cancelled


def test_a_task_that_goes_on_keeps_its_run(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    """As after a clear, or when the trigger has only moved: the task asked about is the running one."""
    fake.next_end = None
    assert run_dag(kill_dag("return 1", task_id="kill")).state == "success"
    assert fake.cancels == []
    assert "is left to the task's next attempt: the task's state is running" in capfd.readouterr().out


def test_a_task_that_is_gone_takes_its_run_along(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = None
    run_dag(kill_dag("return 1", dag_run="'deleted'"))
    assert len(fake.cancels) == 1


def test_detach_leaves_the_run_whatever_happened(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = None
    run_dag(kill_dag("raise AirflowFailException('marked')", policy="detach"))
    assert fake.cancels == []


@pytest.mark.parametrize(("map_index", "cancelled"), [(0, False), (1, True)])
def test_one_mapped_task_is_told_from_another(
    fake: FakeBridge, run_dag: RunDag, map_index: int, cancelled: bool
) -> None:
    fake.next_end = None
    source = KILLED.replace("def waiting():", "def waiting(number):").format(
        how="raise AirflowFailException('marked')",
        policy="cancel",
        dag_run="ti.run_id",
        task_id="kill_mapped",
        map_index=map_index,
        wiring="submit >> kill_mapped.partial(bridge_run=submit.output['run_id']).expand(number=[0])",
    )
    source = source.replace(
        '@task(trigger_rule="all_done")\ndef kill(bridge_run):', "@task\ndef kill_mapped(bridge_run, number):"
    )
    run_dag(source)
    # Index 0 is the task that asks and runs; index 1 is gone.
    assert bool(fake.cancels) is cancelled


FAILED_DEFERRAL = """
from airflow.sdk import DAG, get_current_context, task
from airflow.sdk.bases.operator import TriggerFailureReason
from tests.support.airflow_version import TaskDeferralError
from bridge.client.models import SubmitRequest
from bridge.provider.conclude import note_run
from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.origin import build_origin

@task(retries={retries})
def resume():
    context = get_current_context()
    with KubeflowBridgeHook().get_conn() as client:
        request = SubmitRequest(spec="x", origin=build_origin(context, deployment=None))
        note_run(context, client.submit(request))
    operator = KubeflowPipelineOperator(task_id="elsewhere", pipeline={{"name": "training"}})
    operator.resume_execution("__fail__", {{"error": TriggerFailureReason.{reason}}}, context)

with DAG("resumed") as dag:
    resume()
"""


@pytest.mark.parametrize(
    ("reason", "retries", "cancelled"),
    [
        ("TRIGGER_TIMEOUT", 0, True),
        ("TRIGGER_TIMEOUT", 1, True),
        ("TRIGGER_FAILURE", 0, True),
        ("TRIGGER_FAILURE", 1, False),
    ],
)
def test_a_deferral_that_failed_cancels_what_nobody_will_follow(
    fake: FakeBridge, run_dag: RunDag, reason: str, retries: int, cancelled: bool
) -> None:
    fake.next_end = None
    # The first try says it all; a retry would only wait.
    fake.on_request = None
    ran = run_dag(
        FAILED_DEFERRAL.format(reason=reason, retries=retries).replace(
            "@task(", "@task(retry_delay=__import__('datetime').timedelta(0), "
        )
    )
    assert ran.state == "failed"
    first_try = [body for _, body in fake.cancels if body["try_number"] == 1]
    assert bool(first_try) is cancelled


def a_trigger(fake: FakeBridge) -> BridgeRunTrigger:
    fake.next_end = None
    origin = OriginModel(dag_id="d", dag_run_id="r", task_id="t")
    body = SubmitRequest(spec="x", origin=origin).model_dump_json().encode()
    _, run = fake.answer("POST", "/api/v1/runs", {"authorization": "Bearer let-me-in"}, body)
    return BridgeRunTrigger(
        run_id=run["run_id"],
        kfbridge_conn_id="kfbridge_default",
        task={"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1},
        submission_key=run["submission_key"],
        try_number=1,
    )


FOREIGN_EVENT = """
from uuid import uuid4
from airflow.sdk import DAG, get_current_context, task
from tests.support.airflow_version import TaskDeferred
from bridge.client.models import SubmitRequest
from bridge.provider.conclude import note_run
from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.origin import build_origin

@task
def resume():
    context = get_current_context()
    with KubeflowBridgeHook().get_conn() as client:
        run = client.submit(SubmitRequest(spec="x", origin=build_origin(context, deployment=None)))
    note_run(context, run)
    operator = KubeflowPipelineOperator(task_id="elsewhere", pipeline={"name": "training"}, timeout=60)
    try:
        operator.run_ended(context, {"ending": "over", "run_id": str(uuid4()), "deadline": None})
    except TaskDeferred as deferred:
        return [deferred.trigger.run_id, deferred.trigger.deadline]

with DAG("resumed") as dag:
    resume()
"""


def test_the_event_of_another_trys_trigger_is_waited_through(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = None
    began = time.time()
    run_id, deadline = run_dag(FOREIGN_EVENT).xcom("resume")
    assert run_id in {str(stored.run.run_id) for stored in fake.runs.values()}
    assert began - 5 < deadline - 60 < time.time()


def of_a_sensor(run_id: str) -> BaseTrigger:
    wanted = {"run_id": run_id}
    return BridgeSensorTrigger(wanted=wanted, kfbridge_conn_id="kfbridge_default", look_seconds=1)


def of_a_group(run_id: str) -> BaseTrigger:
    return KubeflowTaskTrigger(run_id=run_id, kfbridge_conn_id="kfbridge_default", path="train")


@pytest.mark.parametrize("make", [None, of_a_sensor, of_a_group])
def test_a_trigger_never_fires_before_the_scheduler_can_know_of_the_deferral(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch, make: Callable[[str], BaseTrigger] | None
) -> None:
    monkeypatch.setattr(triggers, "shortest_deferral_seconds", lambda: 0.4)
    operators = a_trigger(fake)
    trigger = operators if make is None else make(operators.run_id)
    fake.finish(operators.run_id, End(tasks=(a_task("train"),)))

    async def fired() -> Any:
        return await anext(trigger.run())

    began = time.monotonic()
    assert asyncio.run(fired()).payload["ending"] == ("judged" if make is of_a_group else "over")
    assert time.monotonic() - began >= 0.4


def test_an_airflow_slower_than_on_kill_may_be_is_still_heard(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def slow(_: TaskKey) -> str:
        answer.wait(30)
        return "failed"

    monkeypatch.setattr(triggers, "ask_state", slow)
    monkeypatch.setattr(triggers, "_ON_KILL_SECONDS", 0.01)

    async def kill() -> None:
        await a_trigger(fake).on_kill()
        assert fake.cancels == []
        answer.set()
        await asyncio.gather(*triggers._deciding)

    asyncio.run(kill())
    assert [body["try_number"] for _, body in fake.cancels] == [1]


def test_an_airflow_that_does_not_tell_means_no_cancel(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: TaskKey) -> str:
        raise RuntimeError("no such message")

    monkeypatch.setattr(triggers, "ask_state", broken)
    asyncio.run(a_trigger(fake).on_kill())
    assert fake.cancels == []


def test_a_cancel_of_a_superseded_try_is_refused_and_said(
    fake: FakeBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "ask_state", lambda _: "failed")
    trigger = a_trigger(fake)
    fake.runs[trigger.run_id].try_number = 2
    asyncio.run(trigger.on_kill())
    assert len(fake.cancels) == 1
    assert fake.runs[trigger.run_id].run.state == "RUNNING"
