"""The operator's family in a real Airflow: task group, event trigger of an asset's watcher, approval."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from psutil import CONN_ESTABLISHED as ESTABLISHED

from deploy.laptop.processes import wait_for
from deploy.laptop.stack import Stack
from tests.e2e.conftest import DAGS, MakeScene
from tests.e2e.scene import PATIENCE_SECONDS, worker_exits

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

GROUP = "kfp"
LOOP, LAST = f"{GROUP}.inner.loop", f"{GROUP}.inner.last"
WORK, NEVER = f"{GROUP}.condition-1.work", f"{GROUP}.condition-2.never"
FINISH = f"{GROUP}.finish"
APPROVAL = "approved_deployment"


def test_a_task_group_shows_its_tasks_and_a_cleared_one_retries_the_failed(scene: MakeScene) -> None:
    shaped = scene("shaped").start(fail_once=True)
    # While the run goes on: what has ended in KFP has ended here, a branch not taken is skipped.
    shaped.wait_state("skipped", task_id=NEVER)
    for task_id in (LOOP, LAST):
        shaped.wait_state("success", task_id=task_id)
    shaped.wait_state("deferred", task_id=WORK)
    run = shaped.only_run()
    assert shaped.backend_runs() == {str(run.kfp_run_id): "RUNNING"}
    looped = shaped.xcom(task_id=LOOP)
    assert looped["iteration_states"] == {"SUCCEEDED": 2}

    shaped.release()
    assert shaped.wait_end() == "failed"
    ended = {"submit": "success", "prepare": "success", "tasks_done": "success", "finish": "failed"}
    inside = {LOOP: "success", LAST: "success", WORK: "failed", NEVER: "skipped"}
    assert shaped.states() == {**{f"{GROUP}.{name}": state for name, state in ended.items()}, **inside}
    assert "the marker told me to fail" in shaped.log(task_id=WORK)

    shaped.clear(WORK, downstream=True)
    assert shaped.wait_end() == "success"
    assert shaped.instance(WORK)["try_number"] == 2
    assert (shaped.instance(NEVER)["state"], shaped.instance(LOOP)["try_number"]) == ("skipped", 1)
    again = shaped.only_run()
    assert (again.run_id, again.state, again.attempt, again.revivals) == (run.run_id, "SUCCEEDED", 1, 1)
    assert shaped.backend_runs() == {str(run.kfp_run_id): "SUCCEEDED"}
    executed = [task for task, _ in shaped.executed()]
    assert sorted(executed) == ["last", "one", "prepare", "two", "work", "work"]
    assert shaped.xcom(task_id=FINISH)["metrics"] == {"condition-1.work.value": 1.0}


def test_a_run_submitted_by_the_cli_schedules_a_dag(scenario_stack: Stack, tmp_path: Path) -> None:
    stack = scenario_stack
    stack.airflow.wait_dag("watching")

    def listens() -> bool:
        port = int(stack.bridge_url.rpartition(":")[2])
        connections = [c for p in stack.airflow.triggerer_processes() for c in p.net_connections("tcp")]
        return any(c.raddr and c.raddr.port == port and c.status == ESTABLISHED for c in connections)

    wait_for(listens, seconds=PATIENCE_SECONDS, what="the triggerer to listen to the bridge", pause=0.3)
    assert stack.airflow.dag_runs("watching") == []
    arguments = ["-a", f"trace={tmp_path / 'trace'}", "-a", "score=0.5", "--project", "e2e-watched"]
    command = [sys.executable, "-m", "bridge.cli", "submit", str(DAGS / "pipelines" / "held.yaml")]
    done = subprocess.run(
        [*command, *arguments, "--url", stack.bridge_url, "--wait", "--json"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    run = json.loads(done.stdout)

    def scheduled() -> list[dict[str, Any]]:
        return stack.airflow.dag_runs("watching")

    [dag_run] = wait_for(scheduled, seconds=PATIENCE_SECONDS, what="the DAG to be scheduled", pause=0.3)
    assert stack.airflow.wait_dag_run("watching", dag_run["dag_run_id"]) == "success"
    [extra] = stack.airflow.xcom("watching", dag_run["dag_run_id"], "told")
    facts = extra["payload"]
    assert (facts["run_id"], facts["state"]) == (run["run_id"], "SUCCEEDED")
    assert (facts["project"], facts["metrics"]) == ("e2e-watched", {"work.value": 0.5})
    assert len(stack.airflow.dag_runs("watching")) == 1


def test_a_person_approves_or_rejects_the_deployment(scenario_stack: Stack) -> None:
    airflow = scenario_stack.airflow
    airflow.wait_dag(APPROVAL)
    airflow.unpause(APPROVAL)
    answers = {"Approve": "success", "Reject": "skipped"}
    dag_runs = {option: airflow.trigger(APPROVAL, dag_run_id=option.lower()) for option in answers}
    for option, dag_run_id in dag_runs.items():
        path = f"/dags/{APPROVAL}/dagRuns/{dag_run_id}/taskInstances"

        def asks(path: str = path, dag_run_id: str = dag_run_id) -> bool:
            waits = airflow.get(f"{path}/approve")["state"] == "awaiting_input"
            # No person is so quick that the scheduler has not heard of it: it would fail the task.
            return waits and worker_exits(airflow, APPROVAL, dag_run_id, "approve") > 0

        wait_for(asks, seconds=PATIENCE_SECONDS, what="the person to be asked", pause=0.3)
        reference = airflow.xcom(APPROVAL, dag_run_id, "train")
        request = airflow.get(f"{path}/approve/-1/hitlDetails")
        assert request["subject"] == f"Deploy what {APPROVAL} trained?"
        assert reference["urls"]["bridge"] in request["body"]
        airflow.patch(f"{path}/approve/-1/hitlDetails", {"chosen_options": [option]})
    for option, dag_run_id in dag_runs.items():
        assert airflow.wait_dag_run(APPROVAL, dag_run_id) == "success"
        states = {ti["task_id"]: ti["state"] for ti in airflow.task_instances(APPROVAL, dag_run_id)}
        assert states == {"train": "success", "approve": "success", "deploy": answers[option]}
    deployed = airflow.xcom(APPROVAL, dag_runs["Approve"], "deploy")
    assert deployed["run_id"] == airflow.xcom(APPROVAL, dag_runs["Approve"], "train")["run_id"]
    assert deployed["approved_by"]
