"""``KubeflowPipelineOperator`` in a real Airflow when somebody ends what waits for a run.

Each scene checks all the while that no task has more than one unfinished run at the backend.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeScene

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(400)]


def test_marking_a_deferred_task_failed_cancels_its_run(scene: MakeScene) -> None:
    marked = scene("waiting").start()
    run = marked.wait_working()
    marked.wait_watched()
    marked.mark("failed")
    marked.wait_backend(run.kfp_run_id, "CANCELED")
    assert marked.wait_end() == "failed"
    marked.wait_canceled()


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
    cleared.check_only(run)
