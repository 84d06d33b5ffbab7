"""``KubeflowPipelineOperator`` in a real Airflow when workers and triggerers die, stand still and change.

The tests follow on one another: of two triggerers one stands still for a while, one is killed, and then
the last one stands still too.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil
import psycopg
import pytest

from bridge.client.errors import ProblemError
from bridge.client.models import RunModel
from bridge.client.sync import BridgeClient
from deploy.laptop.airflow import AirflowStandalone
from deploy.laptop.processes import wait_for
from deploy.laptop.stack import Stack
from tests.e2e.conftest import MakeScene
from tests.e2e.scene import PATIENCE_SECONDS, Scene, worker_exits
from tests.support.postgres import PostgresServer

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

# How long a triggerer goes on that was stopped at the wrong moment.
_STEP_SECONDS = 0.05


@dataclass
class Triggerers:
    """The processes of each living triggerer, by the id of its job in Airflow."""

    server: PostgresServer
    processes: dict[int, list[psutil.Process]]

    def signal(self, job_id: int, number: signal.Signals) -> None:
        """Sends a signal to all processes of one triggerer."""
        for process in self.processes[job_id]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    @contextlib.contextmanager
    def standing_still(self, job_id: int) -> Iterator[None]:
        """Neither works nor sends heartbeats meanwhile."""
        try:
            self.signal(job_id, signal.SIGSTOP)
            while self._is_in_a_transaction(job_id):
                # Everybody would wait for the locks that it holds.
                self.signal(job_id, signal.SIGCONT)
                time.sleep(_STEP_SECONDS)
                self.signal(job_id, signal.SIGSTOP)
            yield
        finally:
            self.signal(job_id, signal.SIGCONT)

    def _is_in_a_transaction(self, job_id: int) -> bool:
        """Whether one of its connections to Airflow's database is; ``AirflowStandalone`` names them."""
        names = [f"airflow-{process.pid}" for process in self.processes[job_id]]
        with psycopg.connect(self.server.url("postgres"), autocommit=True) as connection:
            asked = "SELECT state FROM pg_stat_activity WHERE application_name = ANY(%s)"
            states = [state for (state,) in connection.execute(asked, [names])]
        assert states, f"no connection is named {names}"
        return any(state != "idle" for state in states)


def alive(airflow: AirflowStandalone) -> set[int]:
    """The jobs of triggerers that send heartbeats."""
    return {job["id"] for job in airflow.get("/jobs", job_type="TriggererJob", is_alive=True)["jobs"]}


def holder(scene: Scene) -> int | None:
    """The triggerer that the task's trigger belongs to."""
    job = scene.instance()["triggerer_job"]
    return None if job is None else int(job["id"])


def wait_moved(scene: Scene, job_id: int) -> int:
    """Waits until the trigger belongs to another triggerer; which."""

    def moved() -> int | None:
        now = holder(scene)
        return now if now != job_id else None

    return scene.wait("the trigger to move to the other triggerer", moved)


@pytest.fixture(scope="module")
def triggerers(scenario_stack: Stack, shared_scene: MakeScene, postgres_server: PostgresServer) -> Triggerers:
    """Two triggerers, the second started after everything the first one does already."""
    airflow = scenario_stack.airflow
    waiting = shared_scene("waiting")
    [first] = wait_for(lambda: alive(airflow), seconds=PATIENCE_SECONDS, what="the triggerer's heartbeat")
    ours = airflow.triggerer_processes()
    assert ours
    process = airflow.start_triggerer()

    def another() -> int | None:
        return next(iter(alive(airflow) - {first}), None)

    second = waiting.wait("the second triggerer", another)
    return Triggerers(postgres_server, {first: ours, second: process.family()})


def test_27_a_trigger_that_moves_to_another_triggerer_leaves_its_run_alone(
    triggerers: Triggerers, scene: MakeScene
) -> None:
    """Airflow tells the first triggerer to kill what it had (apache/airflow#73454)."""
    waiting = scene("waiting").start()
    run = waiting.wait_working()
    waiting.wait_watched()
    before = holder(waiting)
    assert before is not None
    with triggerers.standing_still(before):
        wait_moved(waiting, before)
    left = f"Run {run.run_id} is left to the task's next attempt: the task's state is deferred"
    later = f"Airflow is slow to tell the task's state; run {run.run_id} is decided on later"
    waiting.wait(
        "the first triggerer to let go", lambda: any(word in waiting.log() for word in (left, later))
    )
    assert waiting.backend_runs() == {str(run.kfp_run_id): "RUNNING"}
    waiting.release()
    assert waiting.wait_end() == "success"
    waiting.check_only(run)


def check_resumed_once(waiting: Scene, run: RunModel) -> None:
    """The task has ended by its one run, which nobody tried to cancel; it was on a worker twice: to submit
    the run and, once, to conclude."""
    waiting.check_only(run)
    assert waiting.audited(run) == []
    assert waiting.instance()["try_number"] == 1
    waiting.wait(
        "the scheduler to hear of both stays on a worker",
        lambda: worker_exits(waiting.airflow, waiting.dag_id, waiting.dag_run_id, "run") >= 2,
    )
    assert waiting.log().count("::group::Pre Execute") == 2


def test_18_a_trigger_that_runs_twice_resumes_its_task_once(triggerers: Triggerers, scene: MakeScene) -> None:
    """The triggerer that had it stands still, so that another one takes it over, and then goes on with it."""
    waiting = scene("waiting").start()
    run = waiting.wait_working()
    waiting.wait_watched()
    before = holder(waiting)
    assert before is not None
    with triggerers.standing_still(before):
        wait_moved(waiting, before)
        began = f"trigger {waiting.dag_id}/{waiting.dag_run_id}/run/-1/1"
        waiting.wait("the trigger to run again", lambda: waiting.log().count(began) >= 2)
        waiting.release()
    assert waiting.wait_end() == "success"
    check_resumed_once(waiting, run)


def test_18_after_a_triggerers_sigkill_another_one_goes_on_waiting(
    triggerers: Triggerers, scene: MakeScene
) -> None:
    waiting = scene("waiting").start()
    run = waiting.wait_working()
    waiting.wait_watched()
    killed = holder(waiting)
    assert killed is not None
    triggerers.signal(killed, signal.SIGKILL)
    del triggerers.processes[killed]
    assert wait_moved(waiting, killed) in triggerers.processes
    assert waiting.backend_runs() == {str(run.kfp_run_id): "RUNNING"}
    waiting.release()
    assert waiting.wait_end() == "success"
    check_resumed_once(waiting, run)


@pytest.fixture(scope="module")
def late(triggerers: Triggerers, shared_scene: MakeScene) -> Iterator[Scene]:
    """A run whose time will be up while no triggerer is at work, for as long as the tests that use it."""
    with contextlib.ExitStack() as stack:
        for job_id in triggerers.processes:
            stack.enter_context(triggerers.standing_still(job_id))
        yield shared_scene("limited").start()


def test_20_after_a_workers_sigkill_the_retry_adopts_the_run(late: Scene, scene: MakeScene) -> None:
    blocking = scene("blocking").start()
    run = blocking.wait_working()
    found = blocking.wait_state("running")
    worker = psutil.Process(found["pid"])
    assert found["id"] in " ".join(worker.cmdline())
    worker.kill()
    blocking.wait_state("running", try_number=2)
    adopted = f"The bridge has run {run.run_id}"
    blocking.wait("the next try to have the run", lambda: adopted in blocking.log(2))
    blocking.release()
    assert blocking.wait_end() == "success"
    blocking.check_only(run)


def test_20_a_frozen_worker_cannot_write_when_it_wakes_up(late: Scene, scene: MakeScene) -> None:
    """It stands still with all that watches over it, while its task is failed, cleared and runs again."""
    blocking = scene("adopting_blocking").start()
    run = blocking.wait_working()
    worker = psutil.Process(blocking.wait_state("running")["pid"])
    supervisor = worker.parent()
    assert supervisor is not None
    frozen = [supervisor, worker]
    for process in frozen:
        process.suspend()
    try:
        blocking.mark("failed")
        assert blocking.wait_end() == "failed"
        blocking.clear()
        blocking.wait_state("running", try_number=2)
        adopted = f"The bridge has run {run.run_id}"
        blocking.wait("the next try to have the run", lambda: adopted in blocking.log(2))
        # What the old one may still send on its try's behalf is refused.
        with BridgeClient(blocking.stack.bridge_url) as client, pytest.raises(ProblemError) as refused:
            client.cancel(run.run_id, key=run.submission_key, try_number=1)
        assert (refused.value.status, refused.value.slug) == (409, "superseded")
    finally:
        for process in reversed(frozen):
            process.resume()
    blocking.wait("the old worker to be ended by Airflow", lambda: not worker.is_running())
    assert blocking.backend_runs() == {str(run.kfp_run_id): "RUNNING"}
    blocking.release()
    assert blocking.wait_end() == "success"
    blocking.check_only(run)
    assert blocking.instance()["try_number"] == 2
    assert blocking.audited(run) == ["run.clear"]


def test_a_task_marked_failed_before_its_trigger_runs_leaves_its_run_to_a_clear(
    late: Scene, scene: MakeScene
) -> None:
    """Airflow tells nobody of it: a limit that the docs name."""
    marked = scene("waiting").start()
    old = marked.wait_working()
    marked.wait_deferred()
    marked.mark("failed")
    assert marked.wait_end() == "failed"
    assert marked.backend_runs() == {str(old.kfp_run_id): "RUNNING"}
    marked.clear()
    new = marked.wait_working(executions=2)
    assert marked.backend_runs() == {str(old.kfp_run_id): "CANCELED", str(new.kfp_run_id): "RUNNING"}


def test_27_a_deferral_that_times_out_cancels_its_run(late: Scene) -> None:
    """Airflow's own deferral timeout: the trigger, which knows the time too, runs nowhere."""
    assert late.wait_end() == "failed"
    late.wait_canceled()
    told = late.log()
    assert "Trigger timeout" in told
    assert "The time for the run is up" not in told
