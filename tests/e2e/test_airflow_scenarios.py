"""``KubeflowPipelineOperator`` in a real Airflow: what becomes of retries, clears, gates and assets.

A scheduler, a triggerer, workers and the bridge as processes of their own; nothing is replaced by a fake.
All of them go on at the same time, begun by the fixture ``together``.
"""

from __future__ import annotations

import httpx
import pytest

from tests.e2e.conftest import MakeScene
from tests.e2e.scene import TASK, Scene, worker_exits
from tests.support.otlp_collector import OtlpCollector

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

TIMES_UP = {
    "limited": "The time for the run is up",
    "limited_by_airflow": "The time for the run is up",
    "limited_blocking": "execution_timeout passed",
}
Together = dict[str, Scene]


@pytest.fixture(scope="module")
def together(shared_scene: MakeScene) -> Together:
    """Scenes that do not disturb one another, all begun."""
    return {
        "in_a_pool": shared_scene("in_a_pool").start(),
        "mapped": shared_scene("mapped", live_at_most=3).start(),
        **{dag_id: shared_scene(dag_id).start() for dag_id in TIMES_UP},
        "failing": shared_scene("waiting").start(hold=False, fail_once=True),
        "cleared_here": shared_scene("waiting").start(hold=False, fail_once=True),
        "retried_anew": shared_scene("retried_anew").start(hold=False, fail_once=True),
        "retried_in_place": shared_scene("retried_in_place").start(hold=False, fail_once=True),
        "cleared": shared_scene("waiting").start(hold=False),
        "made_again": shared_scene("waiting").start(hold=False),
        "producing": shared_scene("producing").start(hold=False, score=0.75),
        "refused": shared_scene("refused").start(arguments={"score": "much", "epochz": 3}),
        "low": shared_scene("gated", live_at_most=3).start(hold=False, score=0.5),
        "high": shared_scene("gated", live_at_most=3).start(hold=False, score=0.95),
    }


def slots(scene: Scene, name: str) -> tuple[int, int]:
    """How many tasks of the pool hold a worker's slot, and how many wait deferred."""
    pool = scene.airflow.get(f"/pools/{name}")
    return pool["running_slots"] + pool["queued_slots"], pool["deferred_slots"]


def test_a_deferred_task_holds_no_slot_and_tells_its_run_meanwhile(together: Together) -> None:
    waiting = together["in_a_pool"]
    waiting.wait_deferred()
    run = waiting.wait_working()
    waiting.wait_watched()
    waiting.wait("the log to tell how far it is", lambda: "work: RUNNING" in waiting.log())
    assert slots(waiting, "e2e_alone") == (0, 1)
    assert waiting.xcom("run_id") == str(run.run_id)
    assert waiting.xcom("kfbridge_run")["kfp_run_id"] == str(run.kfp_run_id)
    links = waiting.links()
    assert str(run.run_id) in (links["Bridge run"] or "")
    assert str(run.kfp_run_id) in (links["KFP run"] or "")
    assert httpx.get(links["Bridge run"] or "", follow_redirects=True).status_code == httpx.codes.OK

    waiting.release()
    assert waiting.wait_end() == "success"
    reference = waiting.xcom()
    assert (reference["run_id"], reference["state"]) == (str(run.run_id), "SUCCEEDED")
    assert reference["metrics"] == {"work.value": 1.0}
    assert reference["urls"]["bridge"] == links["Bridge run"]
    assert waiting.executed() == [("prepare", str(run.kfp_run_id)), ("work", str(run.kfp_run_id))]
    # What the tasks do is told as well as it can be: the run's end does not wait for it.
    told = waiting.log()
    assert "work: SUCCEEDED" in told or "What the tasks do could not be read this time" in told


def test_mapped_tasks_have_submissions_of_their_own(together: Together) -> None:
    mapped = together["mapped"]
    deferred = {f"run[{number}]": "deferred" for number in range(3)}
    mapped.wait("three tasks to be deferred", lambda: mapped.states() == deferred)
    assert slots(mapped, "e2e_mapped") == (0, 3)
    mapped.release()
    assert mapped.wait_end() == "success"
    runs = mapped.runs()
    assert {run.origin.map_index: run.arguments["score"] for run in runs} == {0: 0.1, 1: 0.2, 2: 0.3}
    assert len({run.submission_key for run in runs}) == 3
    assert mapped.backend_runs() == {str(run.kfp_run_id): "SUCCEEDED" for run in runs}


def test_a_run_that_fails_fails_its_task_with_its_last_lines(together: Together) -> None:
    failing = together["failing"]
    assert failing.wait_end() == "failed"
    run = failing.only_run()
    assert failing.instance()["state"] == "failed"
    assert failing.backend_runs() == {str(run.kfp_run_id): "FAILED"}
    reference = failing.xcom()
    assert (reference["run_id"], reference["state"]) == (str(run.run_id), "FAILED")
    told = failing.log()
    assert "The component that failed is 'work'" in told
    assert "the marker told me to fail" in told


def test_a_failed_task_is_cleared_through_the_bridge(together: Together) -> None:
    failing = together["cleared_here"]
    assert failing.wait_end() == "failed"
    failed = failing.only_run()
    assert failed.clearable
    with failing.stack.client() as client:
        cleared = client.clear(failed.run_id)
    assert (cleared.dag_run_id, cleared.tasks) == (failing.dag_run_id, [TASK])
    failing.wait("Airflow to ask again", lambda: len(failing.runs()) == 2)
    assert failing.wait_end() == "success"
    assert [run.state for run in failing.runs()] == ["FAILED", "SUCCEEDED"]


@pytest.mark.parametrize("dag_id", TIMES_UP)
def test_27_a_run_whose_time_is_up_is_cancelled(together: Together, dag_id: str) -> None:
    late = together[dag_id]
    assert late.wait_end() == "failed"
    late.wait_canceled()
    assert TIMES_UP[dag_id] in late.log()


def test_a_retry_of_the_scheduler_makes_the_next_attempt(together: Together) -> None:
    retried = together["retried_anew"]
    assert retried.wait_end() == "success"
    first, second = retried.runs()
    assert (first.state, second.state) == ("FAILED", "SUCCEEDED")
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.submission_key == second.submission_key
    assert retried.instance()["try_number"] == 2
    assert retried.xcom("run_id") == str(second.run_id)
    assert retried.backend_runs() == {str(first.kfp_run_id): "FAILED", str(second.kfp_run_id): "SUCCEEDED"}
    told = retried.log(try_number=1)
    assert "The component that failed is 'work'" in told
    assert "the marker told me to fail" in told


def test_a_retry_in_place_revives_the_same_run(together: Together) -> None:
    retried = together["retried_in_place"]
    assert retried.wait_end() == "success"
    run = retried.only_run()
    assert (run.state, run.attempt, run.revivals) == ("SUCCEEDED", 1, 1)
    assert retried.instance()["try_number"] == 2
    assert retried.backend_runs() == {str(run.kfp_run_id): "SUCCEEDED"}
    assert [task for task, _ in retried.executed()] == ["prepare", "work", "work"]


def test_a_clear_after_success_runs_anew(together: Together) -> None:
    cleared = together["cleared"]
    assert cleared.wait_end() == "success"
    first = cleared.only_run()
    cleared.clear()
    cleared.wait_working(executions=2)
    assert cleared.wait_end() == "success"
    again, second = cleared.runs()
    assert again.run_id == first.run_id
    assert [again.state, second.state] == ["SUCCEEDED", "SUCCEEDED"]
    assert again.submission_key != second.submission_key
    assert cleared.xcom("run_id") == str(second.run_id)


def test_30_a_dagrun_made_again_under_its_id_runs_anew(together: Together) -> None:
    first = together["made_again"]
    assert first.wait_end() == "success"
    before = first.only_run()
    max_tries = first.instance()["max_tries"]
    # Airflow tells task instances apart by their names here: were the DagRun made again before the
    # scheduler has heard of the second exit of the old one's worker, it would fail the new one.
    exits = lambda: worker_exits(first.airflow, first.dag_id, first.dag_run_id, "run")  # noqa: E731
    first.wait("the scheduler to be done with it", lambda: exits() >= 2)
    first.airflow.delete(f"/dags/{first.dag_id}/dagRuns/{first.dag_run_id}")

    first.start(hold=False)
    first.wait_working(executions=2)
    assert first.wait_end() == "success"
    assert first.instance()["max_tries"] == max_tries
    runs = first.runs()
    assert [run.state for run in runs] == ["SUCCEEDED", "SUCCEEDED"]
    assert len({run.submission_key for run in runs}) == 2
    assert first.xcom("run_id") == str(runs[1].run_id) != str(before.run_id)


def test_a_downstream_dag_is_told_the_runs_facts(together: Together) -> None:
    producing = together["producing"]
    assert producing.wait_end() == "success"
    run = producing.only_run()
    consuming = "consuming"
    producing.wait("the consuming DAG to run", lambda: bool(producing.airflow.dag_runs(consuming)))
    [dag_run] = producing.airflow.dag_runs(consuming)
    assert producing.airflow.wait_dag_run(consuming, dag_run["dag_run_id"]) == "success"
    [facts] = producing.airflow.xcom(consuming, dag_run["dag_run_id"], "told")
    assert facts["run_id"] == str(run.run_id)
    assert facts["kfp_run_id"] == str(run.kfp_run_id)
    assert (facts["state"], facts["good"]) == ("SUCCEEDED", True)
    assert facts["metrics"] == {"work.value": 0.75}
    assert facts["pipeline"] == "held"


def test_what_the_bridge_does_for_a_task_is_in_the_tasks_trace(
    together: Together, trace_collector: OtlpCollector
) -> None:
    producing = together["producing"]
    assert producing.wait_end() == "success"
    traceparent = producing.only_run().origin.traceparent
    assert traceparent is not None
    _, trace_id, span_id, _ = traceparent.split("-")
    ours = {"kfbridge.accept", "kfbridge.submit", "kfbridge.run", "kfbridge.mirror"}
    producing.wait("the bridge's spans", lambda: ours <= trace_collector.of_trace(trace_id).keys())
    found = [span for span in trace_collector.spans() if span.trace_id == trace_id]
    assert {span.parent_id for span in found if span.service == "kfbridge"} == {span_id}
    asking = {span.name: span for span in found if span.span_id == span_id}
    assert {span.service for span in asking.values()} == {"airflow"}
    assert any(span.name == "worker.run" for span in found), [span.name for span in found]


def test_a_gate_that_does_not_pass_fails_skips_or_goes_on(together: Together) -> None:
    actions = ("fail", "skip", "continue")
    low = together["low"]
    assert low.wait_end() == "failed"
    found = {action: low.instance(action) for action in actions}
    assert {name: ti["state"] for name, ti in found.items()} == {
        "fail": "failed",
        "skip": "skipped",
        "continue": "success",
    }
    # A retry could not change the verdict.
    assert [ti["try_number"] for ti in found.values()] == [1, 1, 1]
    for action in actions:
        reference = low.xcom(task_id=action)
        assert (reference["state"], reference["gate"]["passed"]) == ("SUCCEEDED", False), action
        assert reference["gate"]["numbers"]["work.value"] == 0.5
    assert len(low.runs()) == 3
    assert "work.value >= 0.9" in low.log(task_id="fail")


def test_a_gate_that_passes_lets_its_task_succeed(together: Together) -> None:
    high = together["high"]
    assert high.wait_end() == "success"
    assert set(high.states().values()) == {"success"}
    assert all(run.good for run in high.runs())
    gate = high.xcom(task_id="fail")["gate"]
    assert (gate["passed"], gate["numbers"]["work.value"]) == (True, 0.95)


def test_what_can_never_run_fails_at_once_with_every_problem(together: Together) -> None:
    refused = together["refused"]
    tasks = ("by_the_pipeline", "by_the_bridge")
    assert refused.wait_end() == "failed"
    assert [refused.instance(task_id)["try_number"] for task_id in tasks] == [1, 1]
    log = refused.log(task_id="by_the_pipeline")
    for pointer in ("/arguments/score: ", "/arguments/epochz: ", "/arguments/trace: "):
        assert pointer in log
    log = refused.log(task_id="by_the_bridge")
    assert "unknown-pipeline" in log
    assert "nobody-knows-it" in log
    assert refused.runs() == []
    assert refused.backend_runs() == {}
