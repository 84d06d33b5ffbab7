"""Airflow's own OpenLineage provider and the bridge tell of one graph: DagRun, task, KFP run, KFP tasks."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from sqlalchemy import select

from bridge.client.lineage import ExplainModel
from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from bridge.lineage.database import Database
from bridge.lineage.tables import JOB_RUNS, RUNS
from tests.e2e.conftest import MakeScene
from tests.e2e.scene import Scene
from tests.support.openlineage_spec import check_event
from tests.support.webhook_receiver import WebhookReceiver

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def test_the_airflow_task_the_run_and_its_kfp_tasks_are_one_graph(
    scene: MakeScene, lineage_consumer: WebhookReceiver
) -> None:
    traced = scene("traced").start(hold=False, fail_once=True)
    assert traced.wait_end() == "success"
    first, second = traced.runs()
    with BridgeClient(traced.stack.bridge_url) as client:

        def heard() -> tuple[ExplainModel, ExplainModel] | None:
            failed, succeeded = client.explain(first.run_id), client.explain(second.run_id)
            states = [[one.state for one in told.ancestors] for told in (failed, succeeded)]
            return (failed, succeeded) if states == [["FAIL", "COMPLETE"], ["COMPLETE", "COMPLETE"]] else None

        failed, succeeded = traced.wait("Airflow's events of both tries and the DagRun", heard)
        assert {task.path for task in client.tasks(second.run_id)} == {"", "prepare", "work"}
    task, dag_run = succeeded.ancestors
    parent = second.origin.lineage
    assert parent is not None
    assert (task.run_id, task.namespace, task.job) == (parent.run_id, "e2e/laptop", "traced.run")
    assert (dag_run.run_id, dag_run.job, dag_run.task_id) == (parent.root_run_id, "traced", None)
    assert (failed.ancestors[0].try_number, task.try_number) == (1, 2)
    assert failed.ancestors[1].run_id == dag_run.run_id

    rows = _job_runs(traced.stack.database_url, traced.dag_run_id)
    assert len(rows) == 3, "two tries and the DagRun: what Airflow sent made no rows of its own"
    facets = rows[str(parent.run_id)]
    # These came with Airflow's event, not with the submission.
    assert facets["airflow"]["taskInstance"]["try_number"] == 2
    assert facets["externalQuery"]["externalQueryId"] == str(second.kfp_run_id)
    assert facets["parent"]["run"]["runId"] == str(dag_run.run_id)

    command = [sys.executable, "-m", "bridge.cli", "explain", str(second.run_id)]
    command += ["--url", traced.stack.bridge_url]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert str(parent.run_id) in printed
    assert str(dag_run.run_id) in printed

    _check_what_the_consumer_got(traced, lineage_consumer, second)


def _check_what_the_consumer_got(traced: Scene, consumer: WebhookReceiver, run: RunModel) -> None:
    """The same graph, made of events alone: Airflow's provider tells one half of it, the bridge the other."""
    kfp_run_id = str(run.kfp_run_id)

    def whole() -> list[dict[str, Any]] | None:
        events = [json.loads(body) for body in list(consumer.taken)]
        ends = {event["run"]["runId"] for event in events if event["eventType"] == "COMPLETE"}
        return events if kfp_run_id in ends else None

    events = traced.wait("the bridge's events of the run", whole)
    parents = {one["run"]["runId"]: _parent(one) for one in events if _parent(one)}
    first = {one["run"]["runId"]: index for index, one in reversed(list(enumerate(events)))}
    jobs = {one["run"]["runId"]: one["job"]["name"] for one in events}
    tasks = [child for child, parent in parents.items() if parent == kfp_run_id]
    assert sorted(jobs[task] for task in tasks) == ["held.prepare", "held.work"]
    for task in tasks:
        chain = [task]
        while chain[-1] in parents:
            chain.append(parents[chain[-1]])
        assert [jobs[one] for one in chain[1:]] == ["held", "traced.run", "traced"]
        places = [first[one] for one in chain]
        assert places == sorted(places, reverse=True), "a child came before its parent"
    roots = {_root(one) for one in events if one["run"]["runId"] in (kfp_run_id, *tasks)}
    assert roots == {chain[-1]}
    for event in events:
        if event["producer"] == "urn:kfbridge:service":
            check_event(event)


def _parent(event: dict[str, Any]) -> str | None:
    parent = event["run"]["facets"].get("parent")
    return parent["run"]["runId"] if parent and parent["run"]["runId"] != event["run"]["runId"] else None


def _root(event: dict[str, Any]) -> str:
    return str(event["run"]["facets"]["parent"]["root"]["run"]["runId"])


def _job_runs(database_url: str, dag_run_id: str) -> dict[str, dict]:  # type: ignore[type-arg]
    """The run facets of every job run of a DagRun, by OpenLineage run id; the parents of runs among them."""
    database = Database(database_url)
    try:
        found = select(JOB_RUNS.c.ol_run_id, JOB_RUNS.c.facets).where(JOB_RUNS.c.dag_run_id == dag_run_id)
        asked = select(RUNS.c.parent_ol_run_id).where(RUNS.c.dag_run_id == dag_run_id)
        rows = database.read(lambda s: {str(key): facets["run"] for key, facets in s.execute(found)})
        parents = database.read(lambda s: {str(key) for key in s.scalars(asked)})
    finally:
        database.close()
    assert parents <= set(rows)
    return rows
