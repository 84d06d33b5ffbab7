"""The bridge is stopped for two minutes while tasks wait in every way there is, a backfill of 20 among them.

The outage happens once, for all tests of this module.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from deploy.laptop.processes import wait_for
from deploy.laptop.stack import Stack
from tests.e2e.conftest import BACKFILL_POOL, BACKFILL_SLOTS, MakeScene
from tests.e2e.scene import OVER, PATIENCE_SECONDS, Scene, listed_runs

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

OUTAGE_SECONDS = 120.0
DAYS = 20
FAILING = {"failed", "up_for_retry", "upstream_failed"}


@dataclass
class Backfill:
    """DagRuns of twenty days, all of them steered by the same files."""

    stack: Stack
    folder: Path

    DAG_ID = "backfilled"

    def create(self) -> None:
        """Asks Airflow for the backfill; its DagRuns begin when the DAG is no longer paused."""
        conf = {"trace": str(self.folder / "trace"), "release": str(self.folder / "release")}
        body = {
            "dag_id": self.DAG_ID,
            "from_date": "2020-01-01T00:00:00Z",
            "to_date": f"2020-01-{DAYS}T00:00:00Z",
            "dag_run_conf": conf,
            "max_active_runs": DAYS,
        }
        self.stack.airflow.wait_dag(self.DAG_ID)
        self.stack.airflow.post("/backfills", body)
        assert len(self.dag_runs()) == DAYS

    def begin(self) -> None:
        """Lets the DagRuns begin; so many of their tasks submit a run as their pool has slots."""
        self.stack.airflow.unpause(self.DAG_ID)

    def begin_rest(self) -> None:
        """Lets the other tasks begin as well."""
        self.stack.airflow.patch(
            f"/pools/{BACKFILL_POOL}", {"name": BACKFILL_POOL, "slots": DAYS, "include_deferred": True}
        )

    def release(self) -> None:
        """Lets the pipelines come to their end."""
        (self.folder / "release").touch()

    def executed(self) -> list[str]:
        """The KFP run of each execution of the task ``work``."""
        lines = [line.split() for line in (self.folder / "trace").read_text().splitlines()]
        return [run for task, run in lines if task == "work"]

    def dag_runs(self) -> list[dict[str, Any]]:
        """The DagRuns."""
        return self.stack.airflow.dag_runs(self.DAG_ID)

    def instances(self) -> list[dict[str, Any]]:
        """All task instances."""
        return self.stack.airflow.task_instances(self.DAG_ID, "~")

    def runs(self) -> list[RunModel]:
        """The bridge's runs."""
        with BridgeClient(self.stack.bridge_url) as client:
            return client.list_runs(dag_id=self.DAG_ID, limit=200).items

    def backend_runs(self) -> list[dict[str, Any]]:
        """The runs that the backend has; never are two of one DagRun alive."""
        found = [run for run in listed_runs(self.stack) if " backfill__" in run["display_name"]]
        live = [run["display_name"] for run in found if run["state"] not in OVER]
        assert len(live) == len(set(live)), live
        return found


@dataclass(frozen=True)
class Outage:
    """Who waited while the bridge was away: ``ended`` and ``blocking`` for runs that ended meanwhile,
    ``coming`` was started meanwhile."""

    ended: Scene
    blocking: Scene
    shaped: Scene
    coming: Scene
    backfill: Backfill


@pytest.fixture(scope="module")
def backfill(scenario_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backfill]:
    """The backfill, made and not begun; its pipelines end with the tests at the latest."""
    made = Backfill(scenario_stack, tmp_path_factory.mktemp("backfill"))
    made.create()
    yield made
    made.release()


@pytest.fixture(scope="module")
def outage(scenario_stack: Stack, shared_scene: MakeScene, backfill: Backfill) -> Outage:
    """Two minutes without the bridge, over when the tests begin; what has not ended yet may go on then."""
    ended, blocking, shaped = (shared_scene(dag_id).start() for dag_id in ("waiting", "blocking", "shaped"))
    coming = shared_scene("waiting")
    ended.wait_working()
    ended.wait_watched()
    blocking.wait_working()
    shaped.wait_working()
    backfill.begin()
    wait_for(
        lambda: len(backfill.backend_runs()) == BACKFILL_SLOTS,
        seconds=PATIENCE_SECONDS,
        what="the first runs of the backfill",
    )
    scenario_stack.stop_service()
    back_at = time.monotonic() + OUTAGE_SECONDS
    try:
        coming.start(hold=False)
        # They find the bridge gone.
        backfill.begin_rest()
        for over in (ended, blocking):
            over.release()
            over.wait_backend(next(iter(over.backend_runs())), "SUCCEEDED")

        def time_is_over() -> bool:
            for one in (ended, blocking, shaped, coming):
                assert not FAILING & set(one.states().values()), one.account()
            assert not FAILING & {ti["state"] for ti in backfill.instances()}
            assert len(backfill.backend_runs()) == BACKFILL_SLOTS
            return time.monotonic() > back_at

        wait_for(time_is_over, seconds=OUTAGE_SECONDS + PATIENCE_SECONDS, what="the outage", pause=1.0)
        for one in (ended, coming):
            one.wait_state("deferred")
    finally:
        scenario_stack.start_service()
    shaped.release()
    backfill.release()
    return Outage(ended, blocking, shaped, coming, backfill)


def test_a_bridge_that_is_stopped_for_two_minutes_fails_nobody(outage: Outage) -> None:
    for one in (outage.ended, outage.blocking, outage.coming):
        assert one.wait_end() == "success"
        one.check_only(one.only_run())
        assert one.instance()["try_number"] == 1
    outage.ended.wait("its log", lambda: "The bridge answers again" in outage.ended.log())


def test_a_task_group_outlives_the_outage(outage: Outage) -> None:
    shaped = outage.shaped
    assert shaped.wait_end() == "success"
    assert shaped.only_run().state == "SUCCEEDED"
    tasks = shaped.airflow.task_instances(shaped.dag_id, shaped.dag_run_id)
    assert {ti["try_number"] for ti in tasks if ti["state"] == "success"} == {1}


def test_a_backfill_of_20_has_20_runs_and_none_twice(outage: Outage) -> None:
    backfill = outage.backfill

    def ended() -> bool:
        backfill.backend_runs()
        return {run["state"] for run in backfill.dag_runs()} <= {"success", "failed"}

    wait_for(ended, seconds=2 * PATIENCE_SECONDS, what="the backfill", pause=0.5)
    dag_runs = backfill.dag_runs()
    assert [run["state"] for run in dag_runs] == ["success"] * DAYS
    assert {run["run_type"] for run in dag_runs} == {"backfill"}
    assert {ti["try_number"] for ti in backfill.instances()} == {1}
    runs = backfill.runs()
    assert {run.origin.dag_run_id for run in runs} == {run["dag_run_id"] for run in dag_runs}
    assert {run.origin.logical_date.day for run in runs if run.origin.logical_date} == {*range(1, DAYS + 1)}
    assert [(run.state, run.attempt) for run in runs] == [("SUCCEEDED", 1)] * DAYS
    backend = backfill.backend_runs()
    assert len(backend) == DAYS
    ids = {run["run_id"] for run in backend}
    assert ids == {str(run.kfp_run_id) for run in runs}
    assert sorted(backfill.executed()) == sorted(ids)
