"""``KubeflowPipelineOperator`` in a real Airflow when somebody ends what waits for a run.

Each scene checks all the while that no task has more than one unfinished run at the backend.
"""

from __future__ import annotations

import pytest

from tests.e2e.conftest import MakeScene

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def test_27_marking_a_deferred_task_failed_cancels_its_run(scene: MakeScene) -> None:
    marked = scene("waiting").start()
    run = marked.wait_working()
    marked.wait_watched()
    marked.mark("failed")
    marked.wait_backend(run.kfp_run_id, "CANCELED")
    assert marked.wait_end() == "failed"
    marked.wait_canceled()


def test_19_a_clear_while_active_cancels_the_run_and_makes_a_new_one(scene: MakeScene) -> None:
    cleared = scene("waiting").start()
    old = cleared.wait_working()
    cleared.wait_watched()
    cleared.clear()
    new = cleared.wait_working(executions=2)
    assert new.run_id != old.run_id
    assert cleared.backend_runs()[str(old.kfp_run_id)] == "CANCELED"
    # Whichever comes first: Airflow ends the old trigger, or that sees the end of the old run.
    done = ("is left to the task's next attempt", "Airflow is slow to tell", "trigger completed")
    cleared.wait(
        "the old trigger to be done",
        lambda: any(word in cleared.log(1) for word in done) or done[0] in cleared.log(2),
    )
    assert cleared.backend_runs()[str(new.kfp_run_id)] == "RUNNING"
    cleared.release()
    assert cleared.wait_end() == "success"
    assert cleared.backend_runs() == {str(old.kfp_run_id): "CANCELED", str(new.kfp_run_id): "SUCCEEDED"}
    assert cleared.xcom("run_id") == str(new.run_id)
    assert cleared.audited(old) == ["run.clear", "run.cancel"]
    assert cleared.audited(new) == []


def test_19_a_clear_while_active_may_adopt_the_run(scene: MakeScene) -> None:
    cleared = scene("adopting").start()
    run = cleared.wait_working()
    cleared.wait_watched()
    cleared.clear()
    cleared.wait_deferred(try_number=2)
    cleared.release()
    assert cleared.wait_end() == "success"
    cleared.check_only(run)
    assert cleared.audited(run) == ["run.clear"]


def test_19_a_clear_while_active_may_leave_the_run_alone(scene: MakeScene) -> None:
    cleared = scene("detaching", live_at_most=2).start()
    old = cleared.wait_working()
    cleared.wait_watched()
    cleared.clear()
    new = cleared.wait_working(executions=2)
    assert cleared.backend_runs() == {str(run.kfp_run_id): "RUNNING" for run in (old, new)}
    cleared.release()
    assert cleared.wait_end() == "success"
    cleared.wait_backend(old.kfp_run_id, "SUCCEEDED")
    assert cleared.xcom("run_id") == str(new.run_id)
    assert cleared.audited(old) == ["run.clear"]
