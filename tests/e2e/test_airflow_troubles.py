"""``KubeflowPipelineOperator`` in a real Airflow when somebody or something ends what waits for a run.

Each scene checks all the while that no task has more than one unfinished run at the backend.
"""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from bridge.client.models import RunModel
from tests.e2e.conftest import MakeScene
from tests.e2e.scene import Scene

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]


def only(scene: Scene, run: RunModel) -> None:
    """There was this one run, executed once, and it succeeded."""
    assert scene.only_run().run_id == run.run_id
    assert scene.backend_runs() == {str(run.kfp_run_id): "SUCCEEDED"}
    assert scene.executed() == [("prepare", str(run.kfp_run_id)), ("work", str(run.kfp_run_id))]
    assert scene.xcom("run_id") == str(run.run_id)


def wait_canceled(scene: Scene) -> None:
    """The bridge tells of the cancelled run what the backend does."""
    scene.wait("the bridge to know", lambda: scene.only_run().state == "CANCELED")


def test_marking_a_deferred_task_failed_cancels_its_run(scene: MakeScene) -> None:
    marked = scene("waiting").start()
    run = marked.wait_working()
    marked.wait_watched()
    marked.mark("failed")
    marked.wait_backend(run.kfp_run_id, "CANCELED")
    assert marked.wait_end() == "failed"
    wait_canceled(marked)


@pytest.mark.parametrize("neighbour", [True, False], ids=["one_of_two", "alone"])
def test_a_clear_while_active_cancels_the_run_and_makes_a_new_one(scene: MakeScene, neighbour: bool) -> None:
    """Where no other trigger is there, SQLite can give the old trigger's id to the new one, and the triggerer
    then takes the one for the other; else it ends the old one, which is told so late."""
    cleared = scene("waiting").start()
    old = cleared.wait_working()
    cleared.wait_watched()
    other = scene("waiting").start() if neighbour else None
    if other is not None:
        other.wait_deferred()
    cleared.clear()
    new = cleared.wait_working(executions=2)
    assert new.run_id != old.run_id
    assert cleared.backend_runs()[str(old.kfp_run_id)] == "CANCELED"
    if other is not None:
        # Whichever comes first: Airflow ends the old trigger, or that sees the end of the old run.
        left, seen = "is left to the task's next attempt", "trigger completed"
        cleared.wait(
            "the old trigger to be done",
            lambda: left in cleared.log(1) + cleared.log(2) or seen in cleared.log(1),
        )
        assert cleared.backend_runs()[str(new.kfp_run_id)] == "RUNNING"
        other.release()
        assert other.wait_end() == "success"
    cleared.release()
    assert cleared.wait_end() == "success"
    assert cleared.backend_runs() == {str(old.kfp_run_id): "CANCELED", str(new.kfp_run_id): "SUCCEEDED"}
    assert cleared.xcom("run_id") == str(new.run_id)


def test_a_clear_while_active_may_adopt_the_run(scene: MakeScene) -> None:
    cleared = scene("adopting").start()
    run = cleared.wait_working()
    cleared.wait_watched()
    cleared.clear()
    cleared.wait_deferred(try_number=2)
    cleared.release()
    assert cleared.wait_end() == "success"
    only(cleared, run)


def test_a_run_whose_time_is_up_is_cancelled(scene: MakeScene) -> None:
    says = {
        "limited": "The time for the run is up",
        "limited_by_airflow": "The time for the run is up",
        "limited_blocking": "execution_timeout passed",
    }
    for late in [scene(dag_id).start() for dag_id in says]:
        assert late.wait_end() == "failed"
        wait_canceled(late)
        assert late.backend_runs() == {str(late.only_run().kfp_run_id): "CANCELED"}
        assert says[late.dag_id] in late.log()


def test_a_bridge_that_is_away_fails_nobody(scene: MakeScene) -> None:
    waiting = scene("waiting").start()
    run = waiting.wait_working()
    waiting.wait_watched()
    coming = scene("waiting")

    waiting.stack.stop_service()
    try:
        coming.start(hold=False)
        # Longer than a submission may hold a slot: then it waits for the bridge in the triggerer.
        coming.wait_state("deferred")
        waiting.release()
        waiting.wait_backend(run.kfp_run_id, "SUCCEEDED")
        assert waiting.instance()["state"] == "deferred"
        assert coming.backend_runs() == {}
    finally:
        waiting.stack.start_service()
    assert waiting.wait_end() == "success"
    only(waiting, run)
    assert coming.wait_end() == "success"
    only(coming, coming.only_run())
    assert [coming.instance()["try_number"], waiting.instance()["try_number"]] == [1, 1]


def test_after_a_workers_sigkill_the_retry_adopts_the_run(scene: MakeScene) -> None:
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
    only(blocking, run)


def test_after_a_triggerers_sigkill_another_one_goes_on_waiting(scene: MakeScene) -> None:
    waiting = scene("waiting").start()
    run = waiting.wait_working()
    before = waiting.wait_watched()["triggerer_job"]["id"]
    airflow = waiting.airflow
    killed = [process for process in airflow.process.family() if "triggerer" in process.cmdline()]
    assert killed
    for process in killed:
        os.kill(process.pid, signal.SIGKILL)
    airflow.start_triggerer()

    def moved() -> bool:
        job = waiting.instance()["triggerer_job"]
        return job is not None and job["id"] != before

    waiting.wait("the trigger to move to the other triggerer", moved)
    assert waiting.backend_runs() == {str(run.kfp_run_id): "RUNNING"}
    waiting.release()
    assert waiting.wait_end() == "success"
    only(waiting, run)
